package auth

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// passDevices is how many devices are deleted before the user's mutex is given up for a moment: somebody may be logging in.
const passDevices = 16

// reconcile brings the homeserver to the state we hold, as far as the user's job lists it. What to do is decided from the
// present state, under the user's mutex; afterwards the entries acted on are taken off, unless they have been listed again.
// It is idempotent. Gate: each Update that takes entries off.
func (s *Service) reconcile(ctx context.Context, id ulid.ULID) error {
	var failed failures
	for last, err := s.reconcileSome(ctx, id, ""); ; last, err = s.reconcileSome(ctx, id, last) {
		failed.add(err)
		if last == "" {
			return failed.err()
		}
	}
}

// reconcileSome is what reconcile does under one hold of the mutex: the account, unless it is about devices behind another one, and
// some devices. It returns the last of them; empty: there are no more, or they have to wait.
func (s *Service) reconcileSome(ctx context.Context, id ulid.ULID, after mxid.DeviceID) (last mxid.DeviceID, err error) {
	unlock, err := s.users.lock(ctx, id)
	if err != nil {
		return "", err
	}
	defer unlock()
	job, user, held, err := s.readJob(id, after)
	if err != nil || job == nil {
		return "", err
	}
	set := s.settings.Load()
	acted := store.Job{}
	provisioned := false
	var failed failures
	if job.Account != 0 && after == "" {
		err = settleAccount(ctx, set, &user)
		if err != nil && !unreachable(err) && user.ProvisionedAt.IsZero() {
			return "", s.removeRefused(ctx, &user, err)
		}
		if err == nil {
			acted.Account, provisioned = job.Account, user.ProvisionedAt.IsZero()
		}
		failed.add(err)
	}
	for _, d := range job.Devices {
		if unreachable(err) {
			break // what is refused, of the account or of a device, keeps back none of the others
		}
		if err = nil; !held[d.ID] {
			err = set.Homeserver.DeleteDevice(ctx, user.Localpart, d.ID)
		}
		if isNotFound(err) {
			err = nil // no user, no device
		}
		if err == nil {
			acted.Devices = append(acted.Devices, d)
		}
		failed.add(err)
		last = d.ID
	}
	if unreachable(err) {
		last = ""
	}
	failed.add(s.takeOff(ctx, &user, &acted, provisioned))
	return last, failed.err()
}

// readJob reads the user's job with the next devices behind one, the user, and which of these devices have a live session.
func (s *Service) readJob(id ulid.ULID, after mxid.DeviceID) (job *store.Job, user store.User, held map[mxid.DeviceID]bool, err error) {
	held = make(map[mxid.DeviceID]bool)
	err = s.DB.View(func(tx *store.Tx) error {
		j, err := tx.Job(id)
		if err != nil {
			return err
		}
		if user, err = tx.User(id); err != nil {
			return err
		}
		if i, found := findDevice(&j, after); found {
			j.Devices = j.Devices[i+1:]
		} else {
			j.Devices = j.Devices[i:]
		}
		j.Devices = j.Devices[:min(len(j.Devices), passDevices)]
		for _, d := range j.Devices {
			_, err := tx.SessionByDevice(id, d.ID)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			held[d.ID] = err == nil
		}
		job = &j
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, user, held, nil
	}
	return job, user, held, err
}

// takeOff removes the entries that were acted on and whose revision is unchanged.
func (s *Service) takeOff(ctx context.Context, user *store.User, acted *store.Job, provisioned bool) error {
	if acted.Account == 0 && len(acted.Devices) == 0 {
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
		if _, err := tx.Job(user.ID); errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return s.changeJob(tx, user.ID, func(j *store.Job) {
			if j.Account == acted.Account {
				j.Account = 0
			}
			j.Devices = slices.DeleteFunc(j.Devices, func(d store.JobDevice) bool {
				i, found := findDevice(acted, d.ID)
				return found && acted.Devices[i] == d
			})
		})
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
		e := ending{reason: "user_removed"}
		err := s.update(ctx, func(tx *store.Tx) error {
			if err := s.beginEnding(tx, &e, user.ID); err != nil || !e.done() {
				return err
			}
			if err := s.removePassword(tx, user); err != nil {
				return err
			}
			if err := tx.RemoveUser(user.ID); err != nil {
				return err
			}
			return tx.RemoveJob(user.ID)
		})
		if err != nil {
			return err
		}
		s.endedAll(e.ended, user, From{})
		removed = e.done()
	}
	s.emit(Event{Name: "user_removed", UserID: s.userID(user.Localpart), Reason: reason(why)})
	return &refusedError{why: why}
}

// refusedError is the end of a user whom the homeserver refused.
type refusedError struct{ why error }

// Error implements error.
func (e *refusedError) Error() string { return reason(e.why) }

// Unwrap makes it a conflict, with its cause.
func (e *refusedError) Unwrap() []error { return []error{ErrConflict, e.why} }

// unlist takes a device off a job.
func unlist(j *store.Job, d mxid.DeviceID) {
	j.Devices = slices.DeleteFunc(j.Devices, func(e store.JobDevice) bool { return e.ID == d })
}

// listed reports whether a device is on a job; a nil job has none.
func listed(j *store.Job, d mxid.DeviceID) bool {
	if j == nil {
		return false
	}
	_, found := findDevice(j, d)
	return found
}

// findDevice returns the place of a device on a job.
func findDevice(j *store.Job, d mxid.DeviceID) (int, bool) {
	return slices.BinarySearchFunc(j.Devices, d, func(e store.JobDevice, d mxid.DeviceID) int {
		return strings.Compare(string(e.ID), string(d))
	})
}

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
