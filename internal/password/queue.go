package password

import (
	"container/list"
	"net/netip"
)

// job is one hash on its way. Whoever takes it out of the queue owns the rest of its life.
type job struct {
	src    Source
	record record
	bytes  []byte // the prepared password, cleared when the job is over
	done   chan outcome

	place *list.Element // in its account's list; nil: not in the queue
}

type outcome struct {
	answer answer
	err    error
}

// finish answers the job. It is called once.
func (j *job) finish(a answer, err error) {
	clear(j.bytes)
	j.done <- outcome{a, err}
}

// queue holds jobs that wait: a ring of addresses, each with a ring of accounts, each with its jobs in order of arrival.
// Whoever was served last goes behind all others of its ring before the next one is taken, newcomers included.
// The caller locks.
type queue struct {
	limit     int
	len       int
	addresses ring[netip.Prefix, *address]
}

type address struct {
	len      int
	accounts ring[string, *account]
}

type account struct{ jobs list.List }

func newQueue(limit int) queue { return queue{limit: limit} }

// push adds a job. In a full queue the address with the most jobs gives up its youngest one for an address with fewer, so
// that nobody is kept out by somebody else's crowd.
func (q *queue) push(j *job) error {
	if q.len >= q.limit && !q.makeRoom(j.src.Addr) {
		return ErrQueueFull
	}
	a := q.addresses.get(j.src.Addr, func() *address { return new(address) })
	c := a.accounts.get(j.src.Account, func() *account { return new(account) })
	j.place = c.jobs.PushBack(j)
	a.len++
	q.len++
	return nil
}

func (q *queue) makeRoom(newcomer netip.Prefix) bool {
	crowd := q.addresses.longest(func(a *address) int { return a.len })
	mine := 0
	if a, ok := q.addresses.find(newcomer); ok {
		mine = a.len
	}
	if crowd == nil || crowd.len <= mine+1 {
		return false
	}
	youngest := crowd.accounts.longest(func(c *account) int { return c.jobs.Len() }).jobs.Back().Value.(*job)
	q.remove(youngest)
	youngest.finish(answer{}, ErrQueueFull)
	return true
}

// pop takes the next job; nil if there is none.
func (q *queue) pop() *job {
	if q.len == 0 {
		return nil
	}
	j := q.addresses.next().accounts.next().jobs.Front().Value.(*job)
	q.remove(j)
	return j
}

// remove takes a job out and reports whether it was still in.
func (q *queue) remove(j *job) bool {
	if j.place == nil {
		return false
	}
	a, _ := q.addresses.find(j.src.Addr)
	c, _ := a.accounts.find(j.src.Account)
	c.jobs.Remove(j.place)
	j.place = nil
	a.len--
	q.len--
	if c.jobs.Len() == 0 {
		a.accounts.remove(j.src.Account)
	}
	if a.len == 0 {
		q.addresses.remove(j.src.Addr)
	}
	return true
}

// drain answers every job with the error.
func (q *queue) drain(err error) {
	for j := q.pop(); j != nil; j = q.pop() {
		j.finish(answer{}, err)
	}
}

// ring is served in turn. The zero value is empty.
type ring[K comparable, V any] struct {
	order  list.List // of entry[K, V]
	places map[K]*list.Element
	served *list.Element // who was served last, if still there
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

func (r *ring[K, V]) find(key K) (V, bool) {
	if e, ok := r.places[key]; ok {
		return e.Value.(entry[K, V]).value, true
	}
	var none V
	return none, false
}

func (r *ring[K, V]) get(key K, fresh func() V) V {
	if v, ok := r.find(key); ok {
		return v
	}
	v := fresh()
	if r.places == nil {
		r.places = make(map[K]*list.Element)
	}
	r.places[key] = r.order.PushBack(entry[K, V]{key, v})
	return v
}

// next returns whose turn it is. The ring is not empty.
func (r *ring[K, V]) next() V {
	if r.served != nil {
		r.order.MoveToBack(r.served)
	}
	r.served = r.order.Front()
	return r.served.Value.(entry[K, V]).value
}

func (r *ring[K, V]) remove(key K) {
	e := r.places[key]
	if r.served == e {
		r.served = nil
	}
	r.order.Remove(e)
	delete(r.places, key)
}

func (r *ring[K, V]) longest(length func(V) int) V {
	var best V
	most := 0
	for e := r.order.Front(); e != nil; e = e.Next() {
		v := e.Value.(entry[K, V]).value
		if n := length(v); n > most {
			best, most = v, n
		}
	}
	return best
}
