package web

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/browser"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// perPage bounds the sessions on one page, and so its size.
const perPage = 25

type accountView struct {
	frame
	Notice   string // names a text
	Person   *person
	Sessions []sessionView
	Named    bool   // some have names that they gave themselves
	Others   bool   // there is something else to end
	Next     string // the page with older sessions; empty: none
}

// sessionView is a session in words.
type sessionView struct {
	Path   string
	Name   string // of its program; empty: nobody knows
	Named  bool   // the program gave itself that name
	Kind   string // names a text: how it signed in
	Mark   string
	This   bool // approved in this browser
	Pages  bool // no program's: a browser that is signed in to these pages
	Agent  string
	Addr   string
	Device mxid.DeviceID
	Seen   moment
	Since  moment
}

type sessionPageView struct {
	frame
	sessionView
	End   bool
	Proof *proof
}

type endOthersView struct {
	frame
	Programs   bool          // some of them are of programs
	Sessions   []sessionView // the first of them
	Named      bool          // some have names that they gave themselves
	More       int           // how many are not among them
	Remembered bool          // programs will ask again
	Proof      *proof
}

// showAccount shows who the person is, and a page of the sessions, the last used first.
func (v *visit) showAccount(in *auth.SignedIn, notice string) error {
	all, err := v.sessions(in)
	if err != nil {
		return err
	}
	view := accountView{frame: v.frame("account.title"), Notice: notice, Person: v.person(in)}
	view.Wide = true
	o, err := v.others(in, all)
	if err != nil {
		return err
	}
	view.Others = o.any()
	from, _ := strconv.Atoi(v.query["from"])
	from = min(max(from, 0), len(all))
	to := min(from+perPage, len(all))
	if to < len(all) {
		view.Next = pathAccount + "?from=" + strconv.Itoa(to)
	}
	view.Sessions = v.sessionViews(in, all[from:to])
	view.Named = slices.ContainsFunc(view.Sessions, isNamed)
	return v.show(http.StatusOK, "account", &view)
}

// others is what a person can end at once, beside this browser and what was approved in it.
type others struct {
	programs   []auth.SessionInfo
	browsers   []store.BrowserSession // the last used first
	remembered bool                   // programs sign the person in without asking
}

func (o *others) any() bool { return len(o.programs) > 0 || len(o.browsers) > 0 || o.remembered }

// others picks from all sessions of a person, and finds the rest.
func (v *visit) others(in *auth.SignedIn, all []auth.SessionInfo) (o others, err error) {
	for i := range all {
		if !isThis(in, &all[i]) {
			o.programs = append(o.programs, all[i])
		}
	}
	if o.browsers, err = v.Service.OtherSignIns(v.r.Context(), *in); err != nil {
		return o, err
	}
	slices.SortFunc(o.browsers, func(a, b store.BrowserSession) int { return b.UsedAt.Compare(a.UsedAt) })
	o.remembered, err = v.Service.Remembered(v.r.Context(), *in)
	return o, err
}

// sessions are a person's, those of this browser first, then the last used.
func (v *visit) sessions(in *auth.SignedIn) ([]auth.SessionInfo, error) {
	all, err := v.Service.OwnSessions(v.r.Context(), *in)
	slices.SortStableFunc(all, func(a, b auth.SessionInfo) int {
		if this := isThis(in, &a); this != isThis(in, &b) {
			if this {
				return -1
			}
			return 1
		}
		return cmp.Or(seenAt(&b).Compare(seenAt(&a)), b.ID.Compare(a.ID))
	})
	return all, err
}

func isThis(in *auth.SignedIn, s *auth.SessionInfo) bool { return s.Approver == in.Session.ID }

func seenAt(s *auth.SessionInfo) time.Time {
	if s.LastSeen.At.IsZero() {
		return s.CreatedAt
	}
	return s.LastSeen.At
}

func (v *visit) sessionViews(in *auth.SignedIn, all []auth.SessionInfo) []sessionView {
	var views []sessionView
	for i := range all {
		views = append(views, v.sessionView(in, &all[i]))
	}
	return views
}

func (v *visit) sessionView(in *auth.SignedIn, s *auth.SessionInfo) sessionView {
	view := sessionView{
		Path:   pathSessions + s.ID.String(),
		Kind:   "session.kind." + s.Kind.String(),
		This:   isThis(in, s),
		Agent:  describeAgent(s.LastSeen.UserAgent),
		Addr:   s.LastSeen.Addr,
		Device: s.DeviceID,
		Seen:   v.moment(seenAt(s)),
		Since:  v.moment(s.CreatedAt),
	}
	view.Name, view.Named = v.sessionName(s)
	view.Mark = mark(cmp.Or(view.Name, view.Agent, string(view.Device), "?"))
	return view
}

func isNamed(s sessionView) bool { return s.Named }

// sessionName is the name of the session's program; empty if it has none. own: the program chose it.
func (v *visit) sessionName(s *auth.SessionInfo) (name string, own bool) {
	if s.ClientID == "" {
		return "", false
	}
	c, err := v.Service.Client(v.r.Context(), s.ClientID)
	if err != nil {
		return "", false
	}
	return v.nameOf(&c)
}

// goToDevice goes to the session on a device.
func (v *visit) goToDevice(in *auth.SignedIn, to destination) error {
	s, err := v.Service.OwnSessionOn(v.r.Context(), *in, mxid.DeviceID(to.id))
	if errors.Is(err, auth.ErrNotFound) {
		return v.redirect(withNotice("gone"))
	}
	if err != nil {
		return err
	}
	path := pathSessions + s.ID.String()
	if to.kind == toDeviceEnd {
		path += suffixEnd
	}
	return v.redirect(path)
}

// sessionPage shows one session, or asks whether it is to end.
func (v *visit) sessionPage(in *auth.SignedIn, id ulid.ULID, end bool) error {
	all, err := v.sessions(in)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(s auth.SessionInfo) bool { return s.ID == id })
	if i < 0 {
		return v.redirect(withNotice("gone"))
	}
	title := "session.title"
	if end {
		title = "session.end.title"
	}
	return v.show(http.StatusOK, "session", &sessionPageView{
		frame: v.frame(title), sessionView: v.sessionView(in, &all[i]), End: end, Proof: v.proof(endProof(id, in)),
	})
}

func endProof(id ulid.ULID, in *auth.SignedIn) browser.Proof {
	return browser.Proof{Form: "end-session", Object: id.String(), Session: in.Session.ID.String()}
}

func (v *visit) endSession(in *auth.SignedIn, id ulid.ULID) error {
	if err := v.proven(endProof(id, in)); err != nil {
		return err
	}
	err := v.Service.EndOwnSession(v.r.Context(), *in, id, v.from)
	if errors.Is(err, auth.ErrNotFound) {
		return v.redirect(withNotice("gone"))
	}
	if err != nil {
		return err
	}
	return v.redirect(withNotice("ended"))
}

// endOthersPage lists what would end: programs, then browsers.
func (v *visit) endOthersPage(in *auth.SignedIn) error {
	all, err := v.sessions(in)
	if err != nil {
		return err
	}
	o, err := v.others(in, all)
	if err != nil {
		return err
	}
	shown := v.sessionViews(in, o.programs[:min(len(o.programs), perPage)])
	for i := range o.browsers[:min(len(o.browsers), perPage-len(shown))] {
		shown = append(shown, v.browserView(&o.browsers[i]))
	}
	title := "others.title"
	if !o.any() {
		title = "others.none.title"
	}
	return v.show(http.StatusOK, "end-others", &endOthersView{
		frame: v.frame(title), Programs: len(o.programs) > 0, Sessions: shown, Named: slices.ContainsFunc(shown, isNamed),
		More: len(o.programs) + len(o.browsers) - len(shown), Remembered: o.remembered, Proof: v.proof(endOthersProof(in)),
	})
}

// browserView is a browser that is signed in to these pages, in words.
func (v *visit) browserView(bs *store.BrowserSession) sessionView {
	view := sessionView{Pages: true, Agent: describeAgent(bs.UserAgent), Addr: bs.Addr, Seen: v.moment(bs.UsedAt), Since: v.moment(bs.CreatedAt)}
	view.Mark = mark(cmp.Or(view.Agent, "?"))
	return view
}

func endOthersProof(in *auth.SignedIn) browser.Proof {
	return browser.Proof{Form: "end-others", Session: in.Session.ID.String()}
}

func (v *visit) endOthers(in *auth.SignedIn) error {
	if err := v.proven(endOthersProof(in)); err != nil {
		return err
	}
	if _, err := v.Service.EndOtherSessions(v.r.Context(), *in, v.from); err != nil {
		return err
	}
	return v.redirect(withNotice("others_ended"))
}
