"""The life of a session in matrix-nio: flow.py HOMESERVER USER_ID, with the password in PASSWORD.

Prints a line for each step, and ends with status 1 at the first one that fails.
"""

import asyncio
import os
import sys

import nio


def want(answer, kind):
    """Asserts what class of response nio made of an answer."""
    assert isinstance(answer, kind), f"got {answer!r}, want {kind.__name__}"
    return answer


async def refreshed(client, token):
    """Refreshes through nio's connection: nio itself knows no refresh tokens."""
    path = "/_matrix/client/v3/refresh"
    answer = await client.send("POST", path, '{"refresh_token": "%s"}' % token, {"Content-Type": "application/json"})
    assert answer.status == 200, answer.status
    return await answer.json()


async def life(client, password):
    info = want(await client.login_info(), nio.LoginInfoResponse)
    assert info.flows == ["m.login.password"], info.flows
    print("ok login_info")

    want(await client.login(password, device_name="nio"), nio.LoginResponse)
    print("ok login")

    me = want(await client.whoami(), nio.WhoamiResponse)
    assert (me.user_id, me.device_id) == (client.user_id, client.device_id), me
    print("ok whoami")

    want(await client.sync(timeout=0, full_state=True), nio.SyncResponse)
    print("ok sync")

    room = want(await client.room_create(), nio.RoomCreateResponse).room_id
    content = {"msgtype": "m.text", "body": "hello"}
    sent = want(await client.room_send(room, "m.room.message", content), nio.RoomSendResponse)
    synced = want(await client.sync(timeout=5000), nio.SyncResponse)
    assert sent.event_id in [e.event_id for e in synced.rooms.join[room].timeline.events]
    print("ok room and message")

    token = client.access_token
    want(await client.logout(), nio.LogoutResponse)
    client.access_token = token
    gone = want(await client.whoami(), nio.WhoamiError)
    assert gone.status_code == "M_UNKNOWN_TOKEN" and not gone.soft_logout, gone
    print("ok logout, dead at once")


async def life_with_refresh(client, password):
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": client.user},
        "password": password,
        "refresh_token": True,
    }
    login = await want(await client.login_raw(body), nio.LoginResponse).transport_response.json()
    first = client.access_token
    fresh = await refreshed(client, login["refresh_token"])
    assert fresh["access_token"] != first
    client.access_token = fresh["access_token"]
    want(await client.sync(timeout=0), nio.SyncResponse)
    print("ok refresh")

    want(await client.logout(all_devices=True), nio.LogoutResponse)
    for token in (first, fresh["access_token"]):
        client.access_token = token
        want(await client.whoami(), nio.WhoamiError)
    print("ok logout of all devices, dead at once")


async def main():
    homeserver, user_id = sys.argv[1:]
    password = os.environ["PASSWORD"]
    for run in (life, life_with_refresh):
        client = nio.AsyncClient(homeserver, user_id)
        try:
            await run(client, password)
        finally:
            await client.close()


asyncio.run(main())
