package auth

import (
	"context"
	"errors"
	"iter"

	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// passJobs is how many jobs are done before the user's mutex is given up for a moment: somebody may be logging in.
const passJobs = 16

// reconcile brings the homeserver to the state we hold, as far as the user's jobs list it. What to do is decided from the present
// state, under the user's mutex; afterwards the jobs that are done go, unless they have been listed again. It is idempotent. Gate:
// each Update that takes jobs off.
func (s *Service) reconcile(ctx context.Context, id ulid.ULID) error {
	var failed failures
	for last, err := s.reconcileSome(ctx, id, ""); ; last, err = s.reconcileSome(ctx, id, last) {
		failed.add(err)
		if last == "" {
			return failed.err()
		}
	}
}

// reconcileSome is what reconcile does under one hold of the mutex: some jobs, which are about devices behind one. It returns the last
// of these; empty: there are no more, or they have to wait.
func (s *Service) reconcileSome(ctx context.Context, id ulid.ULID, after mxid.DeviceID) (last mxid.DeviceID, err error) {
	unlock, err := s.users.lock(ctx, id)
	if err != nil {
		return "", err
	}
	defer unlock()
	user, found, err := s.dueJobs(id, after)
	if err == nil && user.ID.IsZero() && len(found) > 0 {
		return "", s.removeJobsOfNobody(ctx, id)
	}
	if err != nil || len(found) == 0 {
		return "", err
	}
	set := s.settings.Load()
	var done []store.Job
	provisioned := false
	var failed failures
	for i := range found { // What is refused, of the account or of a device, keeps back none of the others.
		j := &found[i]
		err = j.do(ctx, set, &user)
		if unreachable(err) {
			failed.add(err)
			last = ""
			break
		}
		if j.DeviceID == "" && user.ProvisionedAt.IsZero() {
			if err != nil {
				return "", s.removeRefused(ctx, &user, err)
			}
			provisioned = true
		}
		if err == nil {
			done = append(done, j.Job)
		}
		failed.add(err)
		last = j.DeviceID
	}
	failed.add(s.finishJobs(ctx, &user, done, provisioned))
	return last, failed.err()
}

// dueJob is a job with what decides on it.
type dueJob struct {
	store.Job
	held bool  // a live session holds the device
	err  error // whether one does cannot be read
}

// dueJobs reads the next of a user's jobs, and the user, who is zero if there is none. A job that cannot be read is as good as any.
func (s *Service) dueJobs(id ulid.ULID, after mxid.DeviceID) (user store.User, found []dueJob, err error) {
	var unread failures
	err = s.DB.View(func(tx *store.Tx) (err error) {
		if user, err = tx.User(id); ignoreNotFound(err) != nil {
			return err
		}
		for j, err := range listed(tx.JobsOf(id, after), &unread) {
			if err != nil {
				return err
			}
			due := dueJob{Job: j}
			if j.DeviceID != "" {
				_, err := tx.SessionByDevice(id, j.DeviceID)
				due.held, due.err = err == nil, ignoreNotFound(err)
			}
			if found = append(found, due); len(found) == passJobs {
				return nil
			}
		}
		return nil
	})
	s.unreadJobs(&unread)
	return user, found, err
}

// listed are jobs with those that cannot be read, as far as they say what they are about.
func listed(all iter.Seq2[store.Job, error], unread *failures) iter.Seq2[store.Job, error] {
	return func(yield func(store.Job, error) bool) {
		for j, err := range all {
			err = unread.passOver(err)
			if (err != nil || !j.UserID.IsZero()) && !yield(j, err) {
				return
			}
		}
	}
}

func (s *Service) unreadJobs(unread *failures) {
	if unread.n > 0 {
		s.settings.Load().Log.Named("jobs").Error("reading jobs failed, what they are about is looked at if it can be told", zap.Error(unread.err()))
	}
}

// do makes the homeserver's account, or its device, what ours is.
func (j *dueJob) do(ctx context.Context, set *Settings, user *store.User) error {
	if j.DeviceID == "" {
		return settleAccount(ctx, set, user)
	}
	if j.err != nil || j.held {
		return j.err
	}
	err := set.Homeserver.DeleteDevice(ctx, user.Localpart, j.DeviceID)
	if isNotFound(err) {
		return nil // no user, no device
	}
	return err
}

// finishJobs removes the jobs that were done, unless they were listed again.
func (s *Service) finishJobs(ctx context.Context, user *store.User, done []store.Job, provisioned bool) error {
	if len(done) == 0 {
		return nil
	}
	return s.update(ctx, func(tx *store.Tx) error {
		if provisioned {
			u, err := tx.User(user.ID)
			if err != nil {
				return err
			}
			u.ProvisionedAt = tx.Now()
			if err := s.putUser(tx, &u); err != nil {
				return err
			}
		}
		for _, j := range done {
			if err := tx.FinishJob(j); err != nil {
				return err
			}
		}
		return nil
	})
}

// settleAccount makes the homeserver's account what ours is: provisioned, closed, or open again.
func settleAccount(ctx context.Context, set *Settings, user *store.User) error {
	hs := set.Homeserver
	if user.Deactivated() {
		if err := hs.DeleteUser(ctx, user.Localpart, user.Erase); !isNotFound(err) {
			return err
		}
		return nil
	}
	_, deactivated, err := hs.QueryUser(ctx, user.Localpart)
	if isNotFound(err) {
		return hs.ProvisionUser(ctx, user.Localpart, user.DisplayName)
	}
	if err == nil && deactivated {
		return hs.ReactivateUser(ctx, user.Localpart)
	}
	return err
}

// removeRefused takes back a user whom the homeserver does not want, so that nothing is left of the attempt.
func (s *Service) removeRefused(ctx context.Context, user *store.User, why error) error {
	for removed := false; !removed; {
		e := ending{reason: "user_removed", ends: everySession}
		err := s.update(ctx, func(tx *store.Tx) (err error) {
			if err := s.beginEnding(tx, &e, user.ID); err != nil {
				return err
			}
			if removed, err = removeJobs(tx, user.ID); err != nil {
				return err
			}
			if removed = removed && e.done(); !removed {
				return nil
			}
			if err := s.removePassword(tx, user); err != nil {
				return err
			}
			return tx.RemoveUser(user.ID)
		})
		if err != nil {
			return err
		}
		s.endedAll(e.ended, user, From{})
	}
	s.emit(Event{Name: "user_removed", UserID: s.userID(user.Localpart), Reason: reason(why)})
	return &refusedError{why: why}
}

// removeJobsOfNobody removes what is listed of a user who is gone. As much as does not fit goes at the next start.
func (s *Service) removeJobsOfNobody(ctx context.Context, id ulid.ULID) error {
	return s.update(ctx, func(tx *store.Tx) error {
		_, err := tx.User(id)
		if errors.Is(err, store.ErrNotFound) {
			_, err = removeJobs(tx, id)
		}
		return err
	})
}

// removeJobs takes as much as fits off a user's list, and reports whether that was all.
func removeJobs(tx *store.Tx, user ulid.ULID) (all bool, err error) {
	for j, err := range listed(tx.JobsOf(user, ""), new(failures)) {
		if err != nil {
			return false, err
		}
		if tx.Full() {
			return false, nil
		}
		if err := tx.RemoveJob(user, j.DeviceID); err != nil {
			return false, err
		}
	}
	return true, nil
}

// refusedError is the end of a user whom the homeserver refused.
type refusedError struct{ why error }

// Error implements error.
func (e *refusedError) Error() string { return reason(e.why) }

// Unwrap makes it a conflict, with its cause.
func (e *refusedError) Unwrap() []error { return []error{ErrConflict, e.why} }

// unreachable logs and reports that the homeserver gave no sensible answer.
func (s *Service) unreachable(set *Settings, err error) {
	set.Log.Warn("synapse cannot be reached", zap.Error(err))
	s.emit(Event{Name: "synapse_unreachable", Reason: reason(err)})
}

func unreachable(err error) bool {
	var e interface{ Unreachable() bool }
	if errors.As(err, &e) {
		return e.Unreachable()
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func isNotFound(err error) bool {
	var e interface{ NotFound() bool }
	return errors.As(err, &e) && e.NotFound()
}

func isConflict(err error) bool {
	var e interface{ Conflict() bool }
	return errors.As(err, &e) && e.Conflict()
}

func isTaken(err error) bool {
	var e interface{ Taken() bool }
	return errors.As(err, &e) && e.Taken()
}

// reason is what an operator is told.
func reason(err error) string {
	var e interface{ Reason() string }
	if errors.As(err, &e) {
		return e.Reason()
	}
	return err.Error()
}
