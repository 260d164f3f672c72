package homeserver

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// Synapse counts characters (Python code points): handlers/device.py MAX_DEVICE_DISPLAY_NAME_LEN, handlers/profile.py
// MAX_DISPLAYNAME_LEN. A longer name is an error there, and would fail a login for nothing.
const (
	maxDeviceName = 100
	maxUserName   = 256
)

type userBody struct {
	Localpart mxid.Localpart `json:"localpart"`
}

// ProvisionUser makes the user if there is none (Synapse mas/users.py MasProvisionUserResource). With an empty displayName a
// new user gets its localpart for a name, and an existing one keeps its own.
func (c *Client) ProvisionUser(ctx context.Context, user mxid.Localpart, displayName string) error {
	return c.post(ctx, "provision_user", struct {
		userBody
		SetDisplayName string `json:"set_displayname,omitzero"`
	}{userBody{user}, cutName(displayName, maxUserName)})
}

// QueryUser asks for a user's profile; an error that is NotFound says that there is no such user (MasQueryUserResource).
func (c *Client) QueryUser(ctx context.Context, user mxid.Localpart) (displayName string, deactivated bool, err error) {
	var a userAnswer
	err = c.call(ctx, request{op: "query_user", method: http.MethodGet, query: localpartQuery(user), answer: &a})
	if err != nil {
		return "", false, err
	}
	return a.DisplayName, *a.IsDeactivated, nil
}

type userAnswer struct {
	UserID        mxid.UserID `json:"user_id"`
	DisplayName   string      `json:"display_name"` // null: none
	IsDeactivated *bool       `json:"is_deactivated"`
}

func (a *userAnswer) complete() bool { return a.UserID != "" && a.IsDeactivated != nil }

// IsLocalpartAvailable asks whether a user of that name could be made; an error that is a Conflict says no and why
// (MasIsLocalpartAvailableResource).
func (c *Client) IsLocalpartAvailable(ctx context.Context, user mxid.Localpart) error {
	return c.call(ctx, request{op: "is_localpart_available", method: http.MethodGet, query: localpartQuery(user)})
}

// UpsertDevice makes the device, or leaves it as it is. A displayName that is not empty becomes its name
// (Synapse mas/devices.py MasUpsertDeviceResource).
func (c *Client) UpsertDevice(ctx context.Context, user mxid.Localpart, device mxid.DeviceID, displayName string) error {
	return c.post(ctx, "upsert_device", deviceNameBody{deviceBody{userBody{user}, device}, cutName(displayName, maxDeviceName)})
}

// UpdateDeviceDisplayName names a device (MasUpdateDeviceDisplayNameResource). NotFound: no such user or device.
func (c *Client) UpdateDeviceDisplayName(ctx context.Context, user mxid.Localpart, device mxid.DeviceID, name string) error {
	return c.post(ctx, "update_device_display_name", struct {
		deviceBody
		DisplayName string `json:"display_name"`
	}{deviceBody{userBody{user}, device}, cutName(name, maxDeviceName)})
}

// DeleteDevice deletes a device with its keys and pushers, if it is there (MasDeleteDeviceResource).
func (c *Client) DeleteDevice(ctx context.Context, user mxid.Localpart, device mxid.DeviceID) error {
	return c.post(ctx, "delete_device", deviceBody{userBody{user}, device})
}

// DeleteUser deactivates a user (MasDeleteUserResource); erase asks for its messages and profile to be forgotten.
func (c *Client) DeleteUser(ctx context.Context, user mxid.Localpart, erase bool) error {
	return c.post(ctx, "delete_user", struct {
		userBody
		Erase bool `json:"erase"`
	}{userBody{user}, erase})
}

// ReactivateUser makes a deactivated user usable again; rooms and devices do not come back (MasReactivateUserResource).
func (c *Client) ReactivateUser(ctx context.Context, user mxid.Localpart) error {
	return c.post(ctx, "reactivate_user", userBody{user})
}

// SetDisplayName gives a user a display name, in all rooms (MasSetDisplayNameResource).
func (c *Client) SetDisplayName(ctx context.Context, user mxid.Localpart, name string) error {
	return c.post(ctx, "set_displayname", struct {
		userBody
		DisplayName string `json:"displayname"`
	}{userBody{user}, cutName(name, maxUserName)})
}

// UnsetDisplayName takes a user's display name away (MasUnsetDisplayNameResource).
func (c *Client) UnsetDisplayName(ctx context.Context, user mxid.Localpart) error {
	return c.post(ctx, "unset_displayname", userBody{user})
}

// AllowCrossSigningReset lets a user replace its cross-signing keys once, without further proof, within ten minutes
// (MasAllowCrossSigningResetResource).
func (c *Client) AllowCrossSigningReset(ctx context.Context, user mxid.Localpart) error {
	return c.post(ctx, "allow_cross_signing_reset", userBody{user})
}

// SyncDevices makes the user's devices exactly the given ones: it deletes all others, also those that are not ours
// (MasSyncDevicesResource). It is for a resync that an administrator asked for, and never for users that we do not own.
func (c *Client) SyncDevices(ctx context.Context, user mxid.Localpart, devices []mxid.DeviceID) error {
	return c.post(ctx, "sync_devices", struct {
		userBody
		Devices []mxid.DeviceID `json:"devices"` // An empty list, not null: json/v2 encodes a nil slice so.
	}{userBody{user}, devices})
}

type deviceBody struct {
	userBody
	DeviceID mxid.DeviceID `json:"device_id"`
}

type deviceNameBody struct {
	deviceBody
	DisplayName string `json:"display_name,omitzero"`
}

func (c *Client) post(ctx context.Context, op string, body any) error {
	return c.call(ctx, request{op: op, method: http.MethodPost, body: body})
}

func localpartQuery(user mxid.Localpart) url.Values {
	return url.Values{"localpart": {string(user)}}
}

// cutName makes a display name acceptable: valid UTF-8 of at most n characters, without NUL, which PostgreSQL cannot store.
func cutName(s string, n int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
	return truncate(s, n)
}

// truncate cuts a valid UTF-8 string after n characters.
func truncate(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
