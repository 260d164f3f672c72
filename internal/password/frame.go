package password

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Frames, both ways, big endian:
//
//	length uint32 | payload
//
//	request: id uint64 | record length uint16 | record | prepared password
//	answer:  id uint64 | verdict uint8 | tag
//
// The first frame of the child is its greeting. Answers come in any order. A verdict of 0 with no tag is a failure.
const (
	greeting = "matrix-auth hasher 1"
	// maxRequest has room for the longest record and password; NFKC makes a character up to eleven times as long.
	maxRequest = 32 << 10
	maxAnswer  = 128
)

var (
	errFrame  = errors.New("password: malformed frame")
	errAnswer = errors.New("password: hasher process could not compute the hash")
)

// appendFrame appends a frame whose payload is what fill appends.
func appendFrame(b []byte, fill func([]byte) []byte) []byte {
	start := len(b)
	b = fill(append(b, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

// readFrame returns the next payload, in memory of its own; io.EOF means that there is none.
func readFrame(r io.Reader, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if int64(n) > int64(limit) {
		return nil, fmt.Errorf("%w: %d bytes", errFrame, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, noEOF(err))
	}
	return b, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

type request struct {
	id       uint64
	record   string
	prepared []byte
}

// frame returns the request's frame, which holds the password: the caller clears it.
func (q request) frame() ([]byte, error) {
	n := 4 + 8 + 2 + len(q.record) + len(q.prepared)
	if len(q.record) > maxRecord || n > maxRequest {
		return nil, fmt.Errorf("%w: request of %d bytes", errFrame, n)
	}
	return appendFrame(make([]byte, 0, n), func(b []byte) []byte {
		b = binary.BigEndian.AppendUint64(b, q.id)
		b = binary.BigEndian.AppendUint16(b, uint16(len(q.record)))
		b = append(b, q.record...)
		return append(b, q.prepared...)
	}), nil
}

// parseRequest reads a payload. The password stays where it is.
func parseRequest(b []byte) (request, error) {
	if len(b) < 10 {
		return request{}, errFrame
	}
	n := int(binary.BigEndian.Uint16(b[8:]))
	if n > len(b)-10 {
		return request{}, errFrame
	}
	return request{id: binary.BigEndian.Uint64(b), record: string(b[10 : 10+n]), prepared: b[10+n:]}, nil
}

func answerFrame(id uint64, a answer) []byte {
	return appendFrame(nil, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint64(b, id)
		b = append(b, byte(a.verdict))
		return append(b, a.tag...)
	})
}

func parseAnswer(b []byte) (id uint64, a answer, err error) {
	if len(b) < 9 || b[8] > byte(Match) || len(b) > 9 && b[8] != byte(NoVerdict) {
		return 0, answer{}, errFrame
	}
	a = answer{verdict: Result(b[8])}
	if len(b) > 9 {
		a.tag = b[9:]
	}
	return binary.BigEndian.Uint64(b), a, nil
}
