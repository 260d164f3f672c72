package password

import "context"

// compute queues a record and waits for its answer.
func (h *Hasher) compute(ctx context.Context, src Source, r record, password string) (answer, error) {
	if err := ctx.Err(); err != nil {
		return answer{}, err
	}
	j := &job{src: src, record: r, done: make(chan outcome, 1)}
	if err := h.submit(j, password); err != nil {
		return answer{}, err
	}
	select {
	case o := <-j.done:
		return o.answer, o.err
	case <-ctx.Done():
		h.abandon(j)
		return answer{}, ctx.Err()
	}
}

func (h *Hasher) submit(j *job, password string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	j.bytes = j.record.scheme.prepare(password, h.pepper)
	if err := h.queue.push(j); err != nil {
		clear(j.bytes)
		return err
	}
	h.dispatchLocked()
	return nil
}

// abandon gives back the place in the queue. A hash that is being computed cannot be stopped: it keeps its place in the
// child until it is done, or the machine would be asked for more than it has.
func (h *Hasher) abandon(j *job) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.queue.remove(j) {
		clear(j.bytes)
	}
}

func (h *Hasher) dispatch() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dispatchLocked()
}

// dispatchLocked starts what has a place. h.mu is held.
func (h *Hasher) dispatchLocked() {
	for h.running < h.limit() {
		j := h.queue.pop()
		if j == nil {
			return
		}
		h.running++
		go h.run(j)
	}
}

// limit is the number of places: fewer where hashes run in this process. h.mu is held.
func (h *Hasher) limit() int {
	if h.workers.inProcess() {
		return min(h.concurrency, cap(h.workers.places))
	}
	return h.concurrency
}

// run computes a job and frees its place.
func (h *Hasher) run(j *job) {
	j.finish(h.workers.compute(j.record, j.bytes))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running--
	h.dispatchLocked()
	h.checkDrained()
}

// checkDrained tells Close that nothing runs any more. h.mu is held.
func (h *Hasher) checkDrained() {
	if h.closed && h.running == 0 {
		close(h.drained)
	}
}
