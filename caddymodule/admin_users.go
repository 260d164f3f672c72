package caddymodule

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

func listUsers(c *adminCall) error { return writeLines(c, c.service().Users(), newUserJSON) }

func showUser(c *adminCall) error {
	l, err := c.user(c.PathValue("localpart"))
	if err != nil {
		return err
	}
	return c.writeUser(l)
}

// writeUser answers with a user as it is now.
func (c *adminCall) writeUser(l mxid.Localpart) error {
	info, err := c.service().User(l)
	if err != nil {
		return err
	}
	return c.writeJSON(newUserJSON(&info))
}

func addUser(c *adminCall) error {
	var body addUserJSON
	if err := c.readBody(&body); err != nil {
		return err
	}
	l, err := c.user(body.Localpart)
	if err != nil {
		return err
	}
	c.note(zap.Bool("admin", body.Admin), zap.Bool("adopt", body.Adopt), zap.Bool("password", body.Password != ""))
	info, err := c.service().AddUser(c.Context(), auth.AddUserParams{
		Localpart:   l,
		Password:    token.NewSecret(body.Password),
		DisplayName: body.DisplayName,
		Admin:       body.Admin,
		Adopt:       body.Adopt,
	})
	if err != nil {
		return err
	}
	return c.writeJSON(newUserJSON(&info))
}

// changeUser makes a request that changes the user in its path. The answer is the user as it is then.
func changeUser(c *adminCall, body any, change func(l mxid.Localpart) error) error {
	l, err := c.user(c.PathValue("localpart"))
	if err != nil {
		return err
	}
	if err := c.readBody(body); err != nil {
		return err
	}
	if err := change(l); err != nil {
		return err
	}
	return c.writeUser(l)
}

func lockUser(c *adminCall) error {
	return changeUser(c, new(struct{}), func(l mxid.Localpart) error { return c.service().Lock(c.Context(), l) })
}

func unlockUser(c *adminCall) error {
	return changeUser(c, new(struct{}), func(l mxid.Localpart) error { return c.service().Unlock(c.Context(), l) })
}

func deactivateUser(c *adminCall) error {
	var body deactivateJSON
	return changeUser(c, &body, func(l mxid.Localpart) error {
		c.note(zap.Bool("erase", body.Erase))
		return c.service().Deactivate(c.Context(), l, body.Erase)
	})
}

func reactivateUser(c *adminCall) error {
	var body passwordJSON
	return changeUser(c, &body, func(l mxid.Localpart) error {
		if body.Password == nil || body.EndSessions {
			return fmt.Errorf("%w: a new password is needed, and nothing else", auth.ErrInvalid)
		}
		return c.service().Reactivate(c.Context(), l, token.NewSecret(*body.Password))
	})
}

func setPassword(c *adminCall) error {
	var body passwordJSON
	return changeUser(c, &body, func(l mxid.Localpart) error {
		if body.Password == nil {
			return fmt.Errorf("%w: password is missing; an empty one takes the user's password away", auth.ErrInvalid)
		}
		c.note(zap.Bool("password", *body.Password != ""), zap.Bool("end_sessions", body.EndSessions))
		return c.service().SetPassword(c.Context(), l, token.NewSecret(*body.Password), body.EndSessions)
	})
}

func setAdmin(c *adminCall) error {
	var body adminRightJSON
	return changeUser(c, &body, func(l mxid.Localpart) error {
		if body.Admin == nil {
			return fmt.Errorf("%w: admin is missing", auth.ErrInvalid)
		}
		c.note(zap.Bool("admin", *body.Admin))
		return c.service().SetAdmin(c.Context(), l, *body.Admin)
	})
}
