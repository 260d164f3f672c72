package password

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
)

// ChildMain is the whole of a hasher process: it computes what it reads from in and writes the answers to out, until in
// ends. It ignores the signals that a terminal or a service manager sends to a whole group of processes, because logins
// under way while the edge shuts down still need it.
func ChildMain(in io.Reader, out io.Writer) error {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	useHugePages(runtime.GOMAXPROCS(0))
	return serve(in, out, runtime.GOMAXPROCS(0))
}

// serve computes at most that many hashes at a time, and reads no further while it does.
func serve(in io.Reader, out io.Writer, places int) error {
	hello := appendFrame(nil, func(b []byte) []byte { return append(b, greeting...) })
	if _, err := out.Write(hello); err != nil {
		return fmt.Errorf("password: greeting: %w", err)
	}
	var running sync.WaitGroup
	defer running.Wait()
	var writing sync.Mutex
	free := make(chan struct{}, places)
	for {
		free <- struct{}{}
		payload, err := readFrame(in, maxRequest)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		q, err := parseRequest(payload)
		if err != nil {
			return err
		}
		running.Go(func() {
			frame := answerFrame(q.id, q.answer())
			clear(payload)
			writing.Lock()
			defer writing.Unlock()
			// An error means that nobody listens any more; then in ends, too.
			_, _ = out.Write(frame)
			<-free
		})
	}
}

// answer is empty if the record cannot be read, which the parent never sends, or cannot be computed.
func (q request) answer() answer {
	r, err := parseWish(q.record)
	if err != nil {
		return answer{}
	}
	a, err := compute(r, q.prepared)
	if err != nil {
		return answer{}
	}
	return a
}
