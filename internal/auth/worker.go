package auth

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// Bounds of the worker.
const (
	firstBackoff = time.Second
	maxBackoff   = 5 * time.Minute
	maxRunning   = 4 // reconciliations at a time, beside those that somebody waits for
)

// worker runs the reconciliation of users who have jobs. The store holds the jobs, for durability only; when they run
// is decided here. Those of a user whom somebody waits for run at once (settle), the others through a few places.
type worker struct {
	s      *Service
	ctx    context.Context // ends when the service stops
	stop   context.CancelFunc
	places chan struct{}
	wg     sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	waiting map[ulid.ULID]*waiting
}

// waiting are one user's jobs.
type waiting struct {
	since   time.Time
	listed  uint64 // how often something was listed
	backoff time.Duration
	timer   *time.Timer // the next run
}

func (w *worker) init(s *Service) {
	w.s = s
	w.ctx, w.stop = context.WithCancel(context.Background())
	w.places = make(chan struct{}, maxRunning)
	w.waiting = make(map[ulid.ULID]*waiting)
}

// load reads all jobs once, at the start. One that cannot be read keeps back none of the others.
func (w *worker) load() error {
	var unread failures
	err := w.s.DB.View(func(tx *store.Tx) error {
		for j, err := range listed(tx.Jobs(), &unread) {
			if err != nil {
				return err
			}
			if j.CreatedAt.IsZero() { // nobody can read since when it waits
				j.CreatedAt = tx.Now()
			}
			w.add(j.UserID, j.CreatedAt)
		}
		return nil
	})
	w.s.unreadJobs(&unread)
	return err
}

// add notes that something of a user was listed. It is looked at soon: whoever listed it may want to wait for it first (settle).
func (w *worker) add(user ulid.ULID, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	j := w.waiting[user]
	if j == nil {
		j = &waiting{since: since}
		w.waiting[user] = j
	}
	if since.Before(j.since) {
		j.since = since
	}
	j.listed++
	if j.backoff == 0 {
		w.scheduleLocked(user, j, firstBackoff)
	}
}

// pending reports how many users wait, and for how long the oldest has.
func (w *worker) pending(now time.Time) (n int, oldest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, j := range w.waiting {
		oldest = max(oldest, now.Sub(j.since))
	}
	return len(w.waiting), oldest
}

func (w *worker) scheduleLocked(user ulid.ULID, j *waiting, after time.Duration) {
	if j.timer != nil {
		j.timer.Stop()
	}
	j.timer = time.AfterFunc(after, func() {
		select {
		case w.places <- struct{}{}:
			defer func() { <-w.places }()
			_ = w.run(user) // it is logged, and runs again
		case <-w.ctx.Done():
		}
	})
}

// run reconciles a user now, and again later if that fails or more was listed meanwhile.
func (w *worker) run(user ulid.ULID) error {
	listed, ok := w.enter(user)
	if !ok {
		return context.Canceled
	}
	defer w.wg.Done()
	err := w.s.reconcile(w.ctx, user)
	w.s.reconciled(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	j := w.waiting[user]
	var refused *refusedError
	switch {
	case w.stopped || j == nil:
	case err == nil && j.listed != listed:
		j.backoff = 0
		w.scheduleLocked(user, j, firstBackoff)
	case err == nil || errors.As(err, &refused):
		j.timer.Stop()
		delete(w.waiting, user)
	default:
		j.backoff = min(max(2*j.backoff, firstBackoff), maxBackoff)
		w.scheduleLocked(user, j, w.jitter(j.backoff))
		w.s.settings.Load().Log.Named("jobs").Warn("reconciling with synapse failed, will be tried again",
			zap.Stringer("user_id", user), zap.Duration("after", j.backoff), zap.Error(err))
	}
	return err
}

// reconciled reports a run to the metrics.
func (s *Service) reconciled(err error) {
	result := "success"
	if err != nil {
		result = "failure"
	}
	s.emit(Event{Name: "reconciled", Reason: result})
}

// enter counts a run, unless the worker has stopped, and says how often something has been listed for the user by now.
func (w *worker) enter(user ulid.ULID) (listed uint64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return 0, false
	}
	w.wg.Add(1)
	if j := w.waiting[user]; j != nil {
		listed = j.listed
	}
	return listed, true
}

// jitter is between three quarters and five quarters of d.
func (w *worker) jitter(d time.Duration) time.Duration {
	var b [1]byte
	if _, err := w.s.rand.Read(b[:]); err != nil {
		return d
	}
	return d*3/4 + d/2*time.Duration(b[0])/255
}

// close stops the worker; what has not run stays in the store.
func (w *worker) close() {
	w.stop()
	w.mu.Lock()
	w.stopped = true
	for _, j := range w.waiting {
		j.timer.Stop()
	}
	w.mu.Unlock()
	w.wg.Wait()
}

// settle reconciles a user now and waits for it, but not for long: the caller's answer is already true, the work goes on.
func (s *Service) settle(ctx context.Context, user ulid.ULID) error {
	if user.IsZero() {
		return nil
	}
	result := make(chan error, 1)
	go func() { result <- s.jobs.run(user) }()
	timeout := time.NewTimer(settleFor)
	defer timeout.Stop()
	select {
	case err := <-result:
		return err
	case <-timeout.C:
		return errSettleLater
	case <-ctx.Done():
		return errSettleLater
	}
}

// errSettleLater: the homeserver will follow.
var errSettleLater = errors.New("the homeserver follows later")
