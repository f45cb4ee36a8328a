// Package postgrestest starts a real PostgreSQL for tests, on the loopback, with an empty database. Tests only.
package postgrestest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Variable names the environment variable with the folder of the server's bin/. `make` sets it.
const Variable = "SALLYPORT_POSTGRES"

// Password is the superuser's.
const Password = "only-a-test"

// Server is a running PostgreSQL with the superuser postgres.
type Server struct {
	// Address is host:port, and URL that of its database, without a password.
	Address, URL string
	// PasswordFile holds the superuser's password.
	PasswordFile string

	kill func()
}

// Find is the folder of the server's bin/. A machine without it fails the test; it does not skip.
func Find(t testing.TB) string {
	t.Helper()
	folder := os.Getenv(Variable)
	for dir, _ := os.Getwd(); folder == "" && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "tools", "requirements-postgres.txt")); err == nil {
			folder = filepath.Join(dir, "build", "tools", "postgres")
		}
	}
	if info, err := os.Stat(filepath.Join(folder, "bin", "postgres")); err != nil || info.IsDir() {
		t.Fatalf("find PostgreSQL: there is no %s/bin/postgres: run `make postgres`, or set %s", folder, Variable)
	}
	return folder
}

// Start starts a server that ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	found := Find(t)
	return start(t, found, who(found))
}

func start(t testing.TB, found string, as user) *Server {
	t.Helper()
	dir := folder(t, as)
	var err error
	s := &Server{PasswordFile: filepath.Join(dir, "password")}
	if err := os.WriteFile(s.PasswordFile, []byte(Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if as.copied {
		// The server's user may not read what is ours.
		if found, err = install(found, dir); err == nil {
			err = give(dir, as.uid)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	var out bytes.Buffer
	initdb := as.command(filepath.Join(found, "bin", "initdb"), "--pgdata", data, "--username", "postgres", "--auth", "scram-sha-256", "--pwfile", s.PasswordFile,
		"--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions")
	initdb.Stdout, initdb.Stderr = &out, &out
	if err := initdb.Run(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out.String())
	}
	for range 5 { // somebody else may take the port between our looking for it and the server's
		if err = s.run(t, as, found, data); err == nil {
			return s
		}
	}
	t.Fatalf("start PostgreSQL: %v", err)
	return nil
}

// folder is one that the server's user can come to: a folder of root's alone, as TMPDIR may be, keeps somebody else out.
func folder(t testing.TB, as user) string {
	t.Helper()
	for _, parent := range []string{"", "/tmp", "/var/tmp"} {
		dir, err := os.MkdirTemp(parent, "pg")
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		if !as.copied {
			return dir
		}
		try := as.command("/bin/sh", "-c", ":")
		if try.Dir = dir; give(dir, as.uid) == nil && try.Run() == nil {
			return dir
		}
	}
	t.Fatalf("no folder for temporary files can be read by user %d: set TMPDIR to one", as.uid)
	return ""
}

// user is whom the server runs as: it refuses to be root.
type user struct {
	attributes *syscall.SysProcAttr
	uid        int
	copied     bool
}

// who finds somebody who is not root. In a user namespace of its own the server is another user and may read what root may; where there
// are none, it is nobody, and needs a copy of the installation.
func who(found string) user {
	if os.Geteuid() != 0 {
		return user{}
	}
	const uid = 1000
	apart := user{uid: uid, attributes: &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: 0, Size: 1}},
	}}
	if apart.command(filepath.Join(found, "bin", "postgres"), "--version").Run() == nil {
		return apart
	}
	return nobody()
}

func nobody() user {
	const uid = 65534
	return user{uid: uid, copied: true, attributes: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}}
}

// install copies an installation into a folder. The programs of a wheel look for their libraries beside the package that they lie in, so
// the copy has the names of the original.
func install(found, dir string) (string, error) {
	found, err := filepath.EvalSymlinks(found)
	if err != nil {
		return "", err
	}
	from := filepath.Dir(found)
	to := filepath.Join(dir, "install", filepath.Base(from))
	if err := os.CopyFS(filepath.Join(to, filepath.Base(found)), os.DirFS(found)); err != nil {
		return "", err
	}
	if _, err := os.Stat(from + ".libs"); err == nil {
		if err := os.CopyFS(to+".libs", os.DirFS(from+".libs")); err != nil {
			return "", err
		}
	}
	return filepath.Join(to, filepath.Base(found)), nil
}

// give makes a user the owner of a folder and of all that is in it, whatever the umask took from others.
func give(dir string, uid int) error {
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, uid)
	})
}

func (u user) command(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC", "PATH=" + os.Getenv("PATH")}
	if u.attributes != nil {
		attributes := *u.attributes
		cmd.SysProcAttr = &attributes
	}
	return cmd
}

// run starts the server on a free port and waits until it takes connections.
func (s *Server) run(t testing.TB, as user, found, data string) error {
	t.Helper()
	port, err := freePort()
	if err != nil {
		return err
	}
	var out lockedBuffer
	cmd := as.command(filepath.Join(found, "bin", "postgres"), "-D", data, "-h", "127.0.0.1", "-p", port, "-k", "", "-F", "-c", "max_connections=50")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	var once sync.Once
	s.kill = func() {
		once.Do(func() {
			_ = cmd.Process.Signal(syscall.SIGQUIT) // immediate shutdown
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				_ = cmd.Process.Kill()
				<-done
			}
		})
	}
	s.Address, s.URL = "127.0.0.1:"+port, "postgres://postgres@127.0.0.1:"+port+"/postgres?sslmode=disable"
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for {
		conn, err := s.connect(ctx)
		if err == nil {
			_ = conn.Close(ctx)
			t.Cleanup(s.kill)
			return nil
		}
		select {
		case <-done:
			return fmt.Errorf("it ended: %s", out.String())
		case <-ctx.Done():
			s.kill()
			return fmt.Errorf("it does not answer: %w: %s", err, out.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) connect(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, strings.Replace(s.URL, "postgres@", "postgres:"+Password+"@", 1))
}

// Exec runs statements as the superuser.
func (s *Server) Exec(t testing.TB, statements ...string) {
	t.Helper()
	conn, err := s.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// Insert adds rows of two texts to a table.
func (s *Server) Insert(t testing.TB, table string, rows [][]any, columns ...string) {
	t.Helper()
	conn, err := s.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.CopyFrom(t.Context(), pgx.Identifier{table}, columns, pgx.CopyFromRows(rows)); err != nil {
		t.Fatal(err)
	}
}

// Transactions is how many the server has ended so far, as far as its connections have reported.
func (s *Server) Transactions(t testing.TB) (n int64) {
	t.Helper()
	conn, err := s.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := conn.QueryRow(t.Context(), "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Kill ends the server at once.
func (s *Server) Kill() { s.kill() }

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
