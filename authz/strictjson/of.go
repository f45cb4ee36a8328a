package strictjson

// Of reads the places of a document that is built already, as [Select] reads them of its bytes. The error is always an *Error: a name that
// equals a selected one only under folding, or more than [MaxFound] values at one place.
func (s *Selection) Of(v Value) ([]Place, error) {
	w := walker{places: make([]Place, s.paths)}
	if err := w.built(s.root, v); err != nil {
		return nil, err
	}
	return w.places, nil
}

// built walks one value that is read for p; nil reads nothing of it.
func (w *walker) built(p *place, v Value) error {
	switch {
	case p == nil:
		return nil
	case v.kind == Array:
		return w.builtArray(p, v.elements)
	case v.kind == Object:
		return w.builtObject(p, v.members)
	case v.kind == Bool || p.leaf < 0:
		return w.scalar(p, v.kind, "")
	}
	return w.scalar(p, v.kind, v.text)
}

func (w *walker) builtArray(p *place, elements []Value) error {
	if err := w.arrayAt(p); err != nil {
		return err
	}
	if len(elements) == 0 && p.each != nil {
		return w.empty(p, p.each)
	}
	for i := range elements {
		if err := w.built(p.each, elements[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) builtObject(p *place, members []Member) error {
	if err := w.objectAt(p); err != nil {
		return err
	}
	seen := uint64(0)
	for i := range members {
		child, index, ok := p.member([]byte(members[i].Name))
		if !ok {
			return &Error{Why: "a name differs from the one that is read by case alone", Folded: true}
		}
		if child != nil {
			seen |= 1 << index
		}
		if err := w.built(child, members[i].Value); err != nil {
			return err
		}
	}
	return w.unseen(p, seen)
}
