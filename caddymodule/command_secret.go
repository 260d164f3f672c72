package caddymodule

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// maxSecretLine bounds a secret that is read, in bytes.
const maxSecretLine = 4096

var (
	errNoSecret      = errors.New("nothing on standard input: one line is expected, which may be empty")
	errSecretTooLong = fmt.Errorf("the line on standard input is longer than %d bytes", maxSecretLine)
	errSecretDiffers = errors.New("the two do not agree, nothing has been changed")
	errSecretBytes   = errors.New("what was read is not valid UTF-8")
)

// readSecret reads a secret: a line of standard input, or what is typed blindly twice if that is a terminal. errNoSecret: the
// input has no line.
func (in *invocation) readSecret(what string) (string, error) {
	secret, err := "", error(nil)
	if f, ok := in.InOrStdin().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		secret, err = askTwice(in.ErrOrStderr(), what, func() ([]byte, error) { return readBlindly(int(f.Fd())) })
	} else {
		secret, err = readLine(in.InOrStdin())
	}
	if err != nil {
		return "", err
	}
	if !utf8.ValidString(secret) {
		return "", errSecretBytes
	}
	return secret, nil
}

// readLine reads a line without its end.
func readLine(r io.Reader) (string, error) {
	line, err := bufio.NewReaderSize(r, maxSecretLine).ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", errSecretTooLong
	case err == io.EOF && len(line) == 0:
		return "", errNoSecret
	case err != nil && err != io.EOF:
		return "", fmt.Errorf("reading standard input: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"), nil
}

// askTwice prompts until the same has been typed twice, once.
func askTwice(w io.Writer, what string, read func() ([]byte, error)) (string, error) {
	var typed [2]string
	for i, prompt := range []string{what + ": ", "Again: "} {
		fmt.Fprint(w, prompt)
		b, err := read()
		fmt.Fprintln(w)
		if err != nil {
			return "", err
		}
		typed[i] = string(b)
	}
	if typed[0] != typed[1] {
		return "", errSecretDiffers
	}
	return typed[0], nil
}

// readBlindly reads a line without showing it. An interrupt leaves a terminal that shows again what is typed.
func readBlindly(fd int) ([]byte, error) {
	state, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer close(interrupts)
	defer signal.Stop(interrupts)
	go func() {
		if _, interrupted := <-interrupts; interrupted {
			_ = term.Restore(fd, state)
			os.Exit(exitFailed)
		}
	}()
	return term.ReadPassword(fd)
}
