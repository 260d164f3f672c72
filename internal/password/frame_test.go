package password

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzFrames(f *testing.F) {
	q, err := request{id: 7, record: cheap, prepared: []byte(horse)}.frame()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(q)
	f.Add(answerFrame(7, answer{verdict: Match}))
	f.Add(answerFrame(7, answer{tag: make([]byte, 32)}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		for {
			payload, err := readFrame(in, maxRequest)
			if err != nil {
				return
			}
			if len(payload) > len(b) || len(payload) > maxRequest {
				t.Fatalf("got %d bytes out of %d", len(payload), len(b))
			}
			checkRequest(t, payload)
			checkAnswer(t, payload)
		}
	})
}

func checkRequest(t *testing.T, payload []byte) {
	q, err := parseRequest(payload)
	if err != nil || len(q.record) > maxRecord {
		return
	}
	frame, err := q.frame()
	if err == nil && !bytes.Equal(frame[4:], payload) {
		t.Errorf("request: got %x, want %x", frame[4:], payload)
	}
}

func checkAnswer(t *testing.T, payload []byte) {
	id, a, err := parseAnswer(payload)
	if err != nil {
		return
	}
	if frame := answerFrame(id, a); !bytes.Equal(frame[4:], payload) {
		t.Errorf("answer: got %x, want %x", frame[4:], payload)
	}
}

func TestReadFrameAllocatesNoMoreThanItsLimit(t *testing.T) {
	for name, b := range map[string][]byte{
		"too long":  {0xff, 0xff, 0xff, 0xff},
		"one more":  {0, 0, 0x80, 0x01},
		"truncated": {0, 0, 0, 5, 1, 2},
	} {
		if _, err := readFrame(bytes.NewReader(b), maxRequest); !errors.Is(err, errFrame) || errors.Is(err, io.EOF) {
			t.Errorf("%s: got %v, want %v", name, err, errFrame)
		}
	}
}

// TestServe speaks to the child's side without a process: what it cannot compute is answered by a failure, and what it
// cannot read ends it.
func TestServe(t *testing.T) {
	var in, out bytes.Buffer
	for i, record := range []string{cheap, "junk"} {
		frame, err := request{id: uint64(i), record: record, prepared: []byte(horse)}.frame()
		if err != nil {
			t.Fatal(err)
		}
		in.Write(frame)
	}
	if err := serve(&in, &out, 1); err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		payload, err := readFrame(&out, maxAnswer)
		if err != nil {
			break
		}
		got = append(got, string(payload))
	}
	want := []string{greeting, "\x00\x00\x00\x00\x00\x00\x00\x00\x02", "\x00\x00\x00\x00\x00\x00\x00\x01\x00"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got): %s", diff)
	}
	for name, junk := range map[string]string{"length": "\xff\xff\xff\xff", "short": "\x00\x00\x00\x01x", "cut": "\x00\x00"} {
		if err := serve(strings.NewReader(junk), io.Discard, 1); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

// TestPasswordIsCleared looks at the memory that the child read a password into.
func TestPasswordIsCleared(t *testing.T) {
	frame, err := request{id: 1, record: cheap, prepared: []byte(horse)}.frame()
	if err != nil {
		t.Fatal(err)
	}
	in := &keeper{Reader: bytes.NewReader(frame)}
	if err := serve(in, io.Discard, 1); err != nil {
		t.Fatal(err)
	}
	for _, b := range in.kept {
		if bytes.Contains(b, []byte(horse)) {
			t.Errorf("the password is still in memory: %q", b)
		}
	}
	if len(in.kept) == 0 {
		t.Error("nothing was read")
	}
}

type keeper struct {
	io.Reader
	kept [][]byte
}

func (k *keeper) Read(p []byte) (int, error) {
	k.kept = append(k.kept, p)
	return k.Reader.Read(p)
}
