package auth

// Life is how long requests may run under a session: until it ends or its user is locked or deactivated. After an unlock it goes on.
type Life interface {
	// Watch has w told of the end, once, and reports whether there is anything to wait for. It does not allocate.
	Watch(w *Watch) bool

	// Leave takes w back. What it is told has happened before Leave returns.
	Leave(w *Watch)
}

// Watch is one request that hears of its session's end. It is made with End alone, and belongs to its Life while it waits.
type Watch struct {
	End interface{ End() } // called on the store's writer, before whoever ended the session is answered; it must not wait

	prev, next *Watch
}

// Watch implements Life.
func (l *liveSession) Watch(w *Watch) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := l.state.Load()
	if st.ended || (st.user != nil && st.user.out()) {
		return false
	}
	w.next = l.watches
	if w.next != nil {
		w.next.prev = w
	}
	l.watches = w
	return true
}

// Leave implements Life.
func (l *liveSession) Leave(w *Watch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case w.prev != nil:
		w.prev.next = w.next
	case l.watches == w:
		l.watches = w.next
	default: // told already
		return
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
}

// cut tells those who wait of the session's end.
func (l *liveSession) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cutLocked()
}

func (l *liveSession) cutLocked() {
	for l.watches != nil {
		w := l.watches
		l.watches = w.next
		w.prev, w.next = nil, nil
		if l.watches != nil {
			l.watches.prev = nil
		}
		w.End.End()
	}
}
