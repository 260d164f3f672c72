package store

import (
	"errors"
	"fmt"
	"iter"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// What a job is about, behind its user in its key.
const (
	jobAccount = 'a'
	jobDevice  = 'd' // the device follows
)

// jobKey is user16 ‖ "a" for the account, which comes first, and user16 ‖ "d" ‖ device.
func jobKey(user ulid.ULID, device mxid.DeviceID) []byte {
	k := append(make([]byte, 0, widthID+1+len(device)), user[:]...)
	if device == "" {
		return append(k, jobAccount)
	}
	return append(append(k, jobDevice), device...)
}

// jobOf is what the key of a job says, which is all but when it was listed.
func jobOf(key []byte) (j Job, ok bool) {
	if len(key) <= widthID {
		return j, false
	}
	j.UserID, j.DeviceID = ulid.ULID(key[:widthID]), mxid.DeviceID(key[widthID+1:])
	return j, key[widthID] == jobAccount && j.DeviceID == "" || key[widthID] == jobDevice && j.DeviceID != ""
}

// HasJob reports whether a user's device is listed, or with an empty one the account.
func (tx *Tx) HasJob(user ulid.ULID, device mxid.DeviceID) (bool, error) {
	_, err := tx.get(recordKey(jobs.id, jobKey(user, device)))
	return err == nil, absent(err)
}

// PutJob lists what a job is about, anew if it is listed already.
func (tx *Tx) PutJob(j Job) error { return jobs.upsert(tx, &j) }

// RemoveJob makes sure that a user's device, or with an empty one the account, is not listed.
func (tx *Tx) RemoveJob(user ulid.ULID, device mxid.DeviceID) error {
	return absent(jobs.remove(tx, jobKey(user, device)))
}

// FinishJob removes a job that was acted on, unless what it is about has been listed again meanwhile.
func (tx *Tx) FinishJob(j Job) error {
	now, err := jobs.get(tx, jobKey(j.UserID, j.DeviceID))
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return absent(err)
	}
	if now.Revision != j.Revision {
		return nil
	}
	return tx.RemoveJob(j.UserID, j.DeviceID)
}

// Jobs lists all jobs, those of a user together. What a job that is ErrCorrupt is about is known all the same, from its key, unless
// its user is zero: it has the revision 0.
func (tx *Tx) Jobs() iter.Seq2[Job, error] {
	all := recordKey(jobs.id, nil)
	return tx.jobs(all, all)
}

// JobsOf lists a user's jobs as Jobs does, first the account's, then those of the devices behind one; "" is before all.
func (tx *Tx) JobsOf(user ulid.ULID, after mxid.DeviceID) iter.Seq2[Job, error] {
	all := recordKey(jobs.id, user[:])
	if after == "" {
		return tx.jobs(all, all)
	}
	return tx.jobs(all, append(recordKey(jobs.id, jobKey(user, after)), 0))
}

func (tx *Tx) jobs(prefix, from []byte) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		for item, err := range tx.scan(prefix, from, true) {
			var j Job
			if err == nil {
				j, err = readJob(item)
			}
			if !yield(j, err) || err != nil && !errors.Is(err, ErrCorrupt) {
				return
			}
		}
	}
}

func readJob(item kv) (Job, error) {
	pk := item.key[2:]
	about, ok := jobOf(pk)
	if !ok {
		return Job{}, fmt.Errorf("%w: a job under %x", ErrCorrupt, pk)
	}
	j, err := jobs.decode(item.value)
	if err != nil {
		return about, fmt.Errorf("the job %x: %w", pk, err)
	}
	j.UserID, j.DeviceID = about.UserID, about.DeviceID
	return j, nil
}
