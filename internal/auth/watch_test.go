package auth_test

import (
	"sync"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
)

// ends counts how often a Watch has been told of the end.
type ends int

func (e *ends) End() { *e++ }

// watch returns how often a request that begins now has been told of its session's end.
func watch(a auth.Admission) *ends {
	told := new(ends)
	if !a.Life().Watch(&auth.Watch{End: told}) {
		*told = -1
	}
	return told
}

// Requests come and go in any order; the end is told to those that are there, and to each once.
func TestLife(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	a, err := k.Judge(t.Context(), in.AccessToken.Reveal(), auth.From{})
	must(t, err)
	defer a.Release()
	life := a.Life()

	var told [5]ends
	var watches [5]auth.Watch
	for i := range watches {
		watches[i].End = &told[i]
		if !life.Watch(&watches[i]) {
			t.Fatal("a session that lives has nothing to wait for")
		}
	}
	for _, i := range []int{2, 4, 0} { // the middle, the newest, the oldest
		life.Leave(&watches[i])
	}
	must(t, k.Logout(t.Context(), in.AccessToken.Reveal(), auth.From{}))
	if want := [5]ends{1: 1, 3: 1}; told != want {
		t.Errorf("got %v, want %v", told, want)
	}
	life.Leave(&watches[1])
	life.Leave(&watches[3])
	if *watch(a) != -1 {
		t.Error("a session that has ended can be waited for")
	}
}

// Requests that begin and finish while the session ends are told, or find that it is over.
func TestLife_Race(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	a, err := k.Judge(t.Context(), in.AccessToken.Reveal(), auth.From{})
	must(t, err)
	defer a.Release()

	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for over := false; !over; {
				var told ends
				w := auth.Watch{End: &told}
				over = !a.Life().Watch(&w)
				a.Life().Leave(&w)
				over = over || told > 0
			}
		})
	}
	must(t, k.Logout(t.Context(), in.AccessToken.Reveal(), auth.From{}))
	wg.Wait()
}

// BenchmarkWatch is a request that watches a session which nobody ends.
func BenchmarkWatch(b *testing.B) {
	k := authtest.NewService(b, authtest.Options{Idle: true})
	k.MustAddUser(b, "alice")
	a, err := k.Judge(b.Context(), k.MustLogin(b, "alice", "PHONE").AccessToken.Reveal(), auth.From{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var told ends
	w := auth.Watch{End: &told}
	for b.Loop() {
		a.Life().Watch(&w)
		a.Life().Leave(&w)
	}
}
