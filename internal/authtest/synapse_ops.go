package authtest

import (
	"net/http"
	"strings"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

const (
	maxDeviceName = 100 // Synapse handlers/device.py
	maxUserName   = 256 // Synapse handlers/profile.py
)

// existing refuses a call for a user that is not there.
func existing(serve func(*Synapse, *call, *SynapseUser) reply) func(*Synapse, *call) reply {
	return func(s *Synapse, c *call) reply {
		u, ok := s.users[c.user()]
		if !ok {
			return noUser
		}
		return serve(s, c, u)
	}
}

func (s *Synapse) queryUser(c *call, u *SynapseUser) reply {
	var name any
	if u.DisplayName != "" {
		name = u.DisplayName
	}
	return reply{status: http.StatusOK, body: map[string]any{
		"user_id":        "@" + value(c.Localpart) + ":" + string(s.ServerName),
		"display_name":   name,
		"avatar_url":     nil,
		"is_suspended":   false,
		"is_deactivated": u.Deactivated,
	}}
}

func (s *Synapse) isLocalpartAvailable(c *call) reply {
	if refusal := s.usable(c.user()); refusal.status != 0 {
		return refusal
	}
	return done
}

// usable says why a user of that name cannot be made; the zero reply: it can (Synapse handlers/register.py check_username).
func (s *Synapse) usable(user mxid.Localpart) reply {
	_, err := mxid.ParseLocalpart(string(user))
	switch {
	case err != nil, strings.HasPrefix(string(user), "_"), strings.Trim(string(user), "0123456789") == "":
		return badRequest("M_INVALID_USERNAME", "User ID can only contain characters a-z, 0-9, or '_-./=+'")
	case s.reserved[user]:
		return badRequest("M_EXCLUSIVE", "This user ID is reserved by an application service.")
	}
	for taken := range s.users {
		if strings.EqualFold(string(taken), string(user)) {
			return badRequest("M_USER_IN_USE", "User ID already taken.")
		}
	}
	return reply{}
}

func (s *Synapse) provisionUser(c *call) reply {
	switch {
	case c.SetDisplayName != nil && c.UnsetDisplayName != nil:
		return badRequest("M_INVALID_PARAM", "Cannot set and unset display name at the same time")
	case tooLong(c.SetDisplayName, maxUserName):
		return badRequest("M_UNKNOWN", "Displayname is too long (max 256)")
	}
	u, ok := s.users[c.user()]
	if !ok {
		if refusal := s.usable(c.user()); refusal.status != 0 {
			return refusal
		}
		u = newSynapseUser(value(c.Localpart))
		s.users[c.user()] = u
	}
	if c.SetDisplayName != nil {
		u.DisplayName = *c.SetDisplayName
	}
	if c.UnsetDisplayName != nil {
		u.DisplayName = ""
	}
	if c.Locked != nil {
		u.Locked = *c.Locked
	}
	if ok {
		return done
	}
	return created
}

func (s *Synapse) upsertDevice(c *call, u *SynapseUser) reply {
	if tooLong(c.DeviceName, maxDeviceName) {
		return badRequest("M_TOO_LARGE", "Device display name is too long (max 100)")
	}
	name, ok := u.Devices[c.device()]
	if c.DeviceName != nil {
		name = *c.DeviceName
	}
	u.Devices[c.device()] = name
	if ok {
		return done
	}
	return created
}

func (s *Synapse) renameDevice(c *call, u *SynapseUser) reply {
	if tooLong(c.DeviceName, maxDeviceName) {
		return badRequest("M_TOO_LARGE", "Device display name is too long (max 100)")
	}
	if _, ok := u.Devices[c.device()]; !ok {
		return reply{status: http.StatusNotFound, errcode: "M_NOT_FOUND", message: "No such device"}
	}
	u.Devices[c.device()] = *c.DeviceName
	return done
}

func (s *Synapse) deleteDevice(c *call, u *SynapseUser) reply {
	delete(u.Devices, c.device())
	return reply{status: http.StatusNoContent}
}

func (s *Synapse) syncDevices(c *call, u *SynapseUser) reply {
	old := u.Devices
	u.Devices = map[mxid.DeviceID]string{}
	for _, d := range *c.Devices {
		u.Devices[mxid.DeviceID(d)] = old[mxid.DeviceID(d)]
	}
	return done
}

func (s *Synapse) deleteUser(c *call, u *SynapseUser) reply {
	u.Deactivated = true
	clear(u.Devices)
	if *c.Erase {
		u.Erased, u.DisplayName = true, ""
	}
	return done
}

func (s *Synapse) reactivateUser(_ *call, u *SynapseUser) reply {
	u.Deactivated, u.Erased = false, false
	return done
}

func (s *Synapse) setDisplayName(c *call, u *SynapseUser) reply {
	if tooLong(c.UserName, maxUserName) {
		return badRequest("M_UNKNOWN", "Displayname is too long (max 256)")
	}
	u.DisplayName = *c.UserName
	return done
}

func (s *Synapse) unsetDisplayName(_ *call, u *SynapseUser) reply {
	u.DisplayName = ""
	return done
}

func (s *Synapse) allowCrossSigningReset(_ *call, u *SynapseUser) reply {
	u.CrossSigningReset = true
	return done
}
