package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// fileState says what became of one file, in either gate. Errors and not LastGood: nothing of it is in force.
type fileState struct {
	Name     string
	Errors   strictyaml.Errors
	LastGood bool
}

func (f fileState) ok() bool { return len(f.Errors) == 0 }

// notInForce is what the files on disk that are not in force have to say, one paragraph each with what is served in the file's place.
// Unserved is what a file means that never was good. It is nil when all are in force, and marked as partly when others of the same
// folder are, or when a file came or went since the last load: then what is in force is not what was.
func notInForce(before, now []fileState, unserved string) error {
	var paragraphs []string
	part := before != nil && !slices.EqualFunc(before, now, func(a, b fileState) bool { return a.Name == b.Name })
	for _, file := range now {
		switch {
		case file.ok():
			part = true
		case file.LastGood:
			paragraphs = append(paragraphs, file.Name+" is not in force, its last good version is:\n"+file.Errors.Error())
		default:
			paragraphs = append(paragraphs, file.Name+" is not in force, and nothing is in its place ("+unserved+"):\n"+file.Errors.Error())
		}
	}
	if len(paragraphs) == 0 {
		return nil
	}
	err := errors.New(strings.Join(paragraphs, "\n"))
	if part {
		return daemon.Partly(err)
	}
	return err
}
