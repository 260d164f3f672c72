// Package password hashes passwords and judges them against stored hashes.
//
// # Schemes
//
// New hashes are argon2id with m=19456, t=2, p=1 (OWASP's minimum, and MAS's default) as PHC strings. Imported ones are
// verified as they are: argon2id with other parameters, bcrypt as Synapse wrote it (handlers/auth.py), PBKDF2 as MAS and
// passlib write it. Each kind has an upper bound on what it may cost, so that no stored record can exhaust the machine.
// [Hasher.NeedsUpgrade] says which hashes should be replaced once their password has proved right.
//
// A password is normalised to NFKC before any scheme sees it, as Synapse does. An upgrade therefore changes nothing for
// people: what they typed before it still fits after it, and composed and decomposed accents are one password.
// The pepper is Synapse's password_config.pepper: it is appended to the password for bcrypt (then cut to 72 bytes) and for
// PBKDF2, and plays no part in our own hashes. It can be dropped once no imported hash is left.
//
// # Where hashes are computed
//
// In a child process of the lowest priority, so that the kernel, and not the Go scheduler, decides between a flood of
// logins and all the other traffic. A request enters the child only when a place is free; until then it waits in a bounded
// queue here, fair between addresses first and between accounts second, and leaves when its context ends. So the child has
// no state to lose: if it dies, its hashes are computed once more by the next one. It ends when nothing is to be done, and
// all of its memory goes back to the system. Where no child can be started, hashes are computed in this process, at most on
// all cores but one.
//
// # What this package does not do
//
// It limits no rates, knows no users and stores nothing. It does not judge how good a password is.
// No password reaches a log, an argument list or an environment: it goes to the child through a pipe and nowhere else.
package password
