package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/clientkey"
	"github.com/sallyport-dev/sallyport/authz/clientkey/redis"
	"github.com/sallyport-dev/sallyport/authz/owner/secrets"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/webhook"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/cmd/internal/redisdial"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// keysEvery is how often the files of keys are looked at: no request waits for a file, and a key that was changed is used this soon.
const keysEvery = 2 * time.Second

// keyFiles are the keys of the policy in force that stand in files of their own. They are read before the policy comes into force, and again
// when they change; a version that cannot be read leaves the one before. A reload of the policy keeps those that it still names.
type keyFiles struct {
	daemon *daemon.Daemon
	prefix string // of the names of its parts in the status

	mu   sync.Mutex
	held keySet
	bad  map[string]string // by path or URL: why the version on disk is not in force, or the server cannot be asked
}

// keySet are the keys of one policy, by the names that it gives them.
type keySet struct {
	webhooks map[string]*webhookKeys
	clients  map[string]*clientKeys
}

func newKeyFiles(d *daemon.Daemon, prefix string) *keyFiles {
	return &keyFiles{daemon: d, prefix: prefix, bad: map[string]string{}}
}

// clientKeys are one store of API keys: a file, or a Redis.
type clientKeys struct {
	file *secrets.File[*clientkey.Set] // nil of a Redis
	authz.ClientKeys
	close func() // lets its connections go
	// server is the URL of a Redis, and try asks whether it can be had.
	server string
	try    func(context.Context) error
}

// fileKeys is a file of API keys, as its last good version says it.
type fileKeys struct{ file *secrets.File[*clientkey.Set] }

// Client implements authz.ClientKeys.
func (f fileKeys) Client(_ context.Context, key clientkey.Hash, now time.Time) (string, error) {
	set, ok := f.file.Value()
	if !ok {
		return "", errors.New("the file of keys was never read")
	}
	client, _ := set.Client(key, now)
	return client, nil
}

// webhookKeys are the keys of one webhook.
type webhookKeys struct {
	files []*secrets.File[*webhook.Key]
	good  atomic.Pointer[[]*webhook.Key]
}

// Keys implements authz.WebhookKeys.
func (w *webhookKeys) Keys() []*webhook.Key {
	if good := w.good.Load(); good != nil {
		return *good
	}
	return nil
}

// gather collects what is good of the files.
func (w *webhookKeys) gather() {
	var good []*webhook.Key
	for _, file := range w.files {
		if key, ok := file.Value(); ok {
			good = append(good, key)
		}
	}
	w.good.Store(&good)
}

// take reads the keys that a policy names, or says at its place what cannot be read; then what was in force stays. Keys that are handed out
// are in force once keep was called, and are given up by drop if they never will be.
func (k *keyFiles) take(p *policy.Policy) (keySet, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := keySet{webhooks: map[string]*webhookKeys{}, clients: map[string]*clientKeys{}}
	var errs strictyaml.Errors
	for _, spec := range p.WebhookKeys() {
		keys := k.held.webhooks[spec.Name]
		if keys == nil {
			var wrong strictyaml.Errors
			keys, wrong = openWebhookKeys(spec)
			errs = append(errs, wrong...)
		}
		next.webhooks[spec.Name] = keys
	}
	for _, spec := range p.ClientKeys() {
		keys := k.held.clients[spec.Name]
		if keys == nil {
			var err error
			if keys, err = openClientKeys(spec); err != nil {
				errs = append(errs, &strictyaml.Error{File: spec.PolicyFile, Pos: spec.Pos, Msg: fmt.Sprintf("the API keys cannot be read: %s", err)})
				continue
			}
		}
		next.clients[spec.Name] = keys
	}
	if len(errs) > 0 {
		k.dropLocked(next)
		errs.Sort()
		return keySet{}, errs
	}
	return next, nil
}

// openClientKeys reads a file of API keys, or makes a client of a Redis, which is not asked.
func openClientKeys(spec *policy.ClientKeys) (*clientKeys, error) {
	if spec.Redis == nil {
		file := secrets.NewFile(spec.File, clientkey.Parse)
		_, err := file.Refresh()
		return &clientKeys{file: file, ClientKeys: fileKeys{file}, close: func() {}}, err
	}
	o, err := redisdial.ParseOne(spec.Redis.URL)
	if err != nil {
		return nil, err
	}
	o.Username, o.PasswordFile, o.CAFile, o.Timeout = spec.Redis.Username, spec.Redis.PasswordFile, spec.Redis.CAFile, spec.Redis.Timeout
	client, err := redisdial.New(o)
	if err != nil {
		return nil, err
	}
	store := redis.New(client, spec.Redis.Prefix, spec.Redis.Timeout)
	return &clientKeys{ClientKeys: store, close: func() { _ = client.Close() }, server: spec.Redis.URL, try: store.Try}, nil
}

// drop gives up keys that were taken and never came into force.
func (k *keyFiles) drop(taken keySet) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dropLocked(taken)
}

func (k *keyFiles) dropLocked(taken keySet) {
	for name, keys := range taken.clients {
		if k.held.clients[name] != keys {
			keys.close()
		}
	}
}

func openWebhookKeys(spec *policy.WebhookKeys) (*webhookKeys, strictyaml.Errors) {
	keys := &webhookKeys{}
	var errs strictyaml.Errors
	for _, path := range spec.Files {
		file := secrets.NewFile(path, func(data []byte) (*webhook.Key, error) { return webhook.ReadKey(data, spec.Base64) })
		if _, err := file.Refresh(); err != nil {
			errs = append(errs, &strictyaml.Error{File: spec.File, Pos: spec.Pos, Msg: fmt.Sprintf("the key cannot be read: %s", err)})
		}
		keys.files = append(keys.files, file)
	}
	keys.gather()
	return keys, errs
}

// keep brings keys into force, and forgets those that no rule names any more.
func (k *keyFiles) keep(next keySet) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, keys := range k.held.clients {
		if next.clients[name] != keys {
			time.AfterFunc(lookupGrace, keys.close)
		}
	}
	k.held = next
	for path := range k.bad {
		if !slices.ContainsFunc(k.pathsLocked(), func(named string) bool { return named == path }) {
			k.mendedLocked(path)
		}
	}
}

func (k *keyFiles) pathsLocked() []string {
	var paths []string
	for _, keys := range k.held.webhooks {
		for _, file := range keys.files {
			paths = append(paths, file.Path())
		}
	}
	for _, keys := range k.held.clients {
		if keys.file != nil {
			paths = append(paths, keys.file.Path())
		} else {
			paths = append(paths, keys.server)
		}
	}
	return paths
}

// into gives a bundle the keys.
func (s keySet) into(bundle *authz.Bundle) {
	bundle.WebhookKeys, bundle.ClientKeys = map[string]authz.WebhookKeys{}, map[string]authz.ClientKeys{}
	for name, keys := range s.webhooks {
		bundle.WebhookKeys[name] = keys
	}
	for name, keys := range s.clients {
		bundle.ClientKeys[name] = keys.ClientKeys
	}
}

// watch looks for changes until ctx ends.
func (k *keyFiles) watch(ctx context.Context) {
	ticker := time.NewTicker(keysEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			k.look()
		}
	}
}

// look reads what changed, once.
func (k *keyFiles) look() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, keys := range k.held.clients {
		if keys.file != nil {
			k.lookedLocked(keys.file.Path(), keys.file.Refresh)
		} else {
			k.triedLocked(keys)
		}
	}
	for _, keys := range k.held.webhooks {
		for _, file := range keys.files {
			if k.lookedLocked(file.Path(), file.Refresh) {
				keys.gather()
			}
		}
	}
}

// lookedLocked looks at one file, and tells log and status of what became of it, once each time that it becomes something else.
func (k *keyFiles) lookedLocked(path string, refresh func() (bool, error)) (changed bool) {
	changed, err := refresh()
	switch {
	case err != nil:
		if k.bad[path] != err.Error() {
			k.bad[path] = err.Error()
			k.daemon.Status.Set(k.part(path), daemon.Degraded("the file of keys on disk is not in force, its last good version is; why is in the log"))
			k.daemon.Log.Warn("a file of keys could not be read, and its last good version stays in force", "file", path, "err", err)
		}
		return false
	case k.bad[path] != "":
		k.mendedLocked(path)
	}
	if changed {
		k.daemon.Log.Info("a file of keys changed, and is in force", "file", path)
	}
	return changed
}

// triedLocked asks whether a Redis of API keys can be had, and tells it likewise.
func (k *keyFiles) triedLocked(keys *clientKeys) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := keys.try(ctx)
	switch known := k.bad[keys.server] != ""; {
	case err != nil && !known:
		k.bad[keys.server] = err.Error()
		k.daemon.Status.Set(k.part(keys.server), daemon.Degraded("it cannot be asked, why is in the log; requests that need its keys are answered with 503"))
		k.daemon.Log.Warn("a store of API keys cannot be asked", "store", keys.server, "err", err)
	case err == nil && known:
		k.mendedLocked(keys.server)
		k.daemon.Log.Info("a store of API keys answers again", "store", keys.server)
	}
}

func (k *keyFiles) part(path string) string { return k.prefix + "keys:" + path }

func (k *keyFiles) mendedLocked(path string) {
	delete(k.bad, path)
	k.daemon.Status.Forget(k.part(path))
}

// cannotRead marks what keeps the keys of a policy from being read.
func cannotRead(err error) error {
	return daemon.Invalid(fmt.Errorf("the policy's keys cannot be read:\n%w", err))
}
