"""Meta's own SDK for Python sends to a box: send.py URL PIXEL TOKEN. Prints what the SDK made of each answer, as JSON."""

import json
import sys
import time

from facebook_business.adobjects.serverside.action_source import ActionSource
from facebook_business.adobjects.serverside.content import Content
from facebook_business.adobjects.serverside.custom_data import CustomData
from facebook_business.adobjects.serverside.event import Event
from facebook_business.adobjects.serverside.event_request import EventRequest
from facebook_business.adobjects.serverside.user_data import UserData
from facebook_business.api import FacebookAdsApi
from facebook_business.exceptions import FacebookRequestError
from facebook_business.session import FacebookSession

url, pixel, token = sys.argv[1:4]
FacebookSession.GRAPH = url  # the one host that the SDK knows
now = int(time.time())


def purchase(event_id, event_time=now):
    """A purchase by John; the SDK normalises and hashes him."""
    john = UserData(
        email=" John@Example.com ",
        phone="+1 (650) 555-1212",
        first_name="John",
        country_code="US",
        external_id="cust_123",
        client_ip_address="192.0.2.7",
        client_user_agent="Mozilla/5.0",
        fbp="fb.1.1596403881668.1116446470",
    )
    contents = [Content(product_id="sku-1", quantity=3, item_price=19.99)]
    return Event(
        event_name="Purchase",
        event_time=event_time,
        event_id=event_id,
        action_source=ActionSource.WEBSITE,
        event_source_url="https://shop.example/thanks",
        user_data=john,
        custom_data=CustomData(value=59.97, currency="usd", order_id=event_id, contents=contents),
    )


def lead(event_id):
    return Event(
        event_name="Lead",
        event_time=now,
        event_id=event_id,
        action_source=ActionSource.SYSTEM_GENERATED,
        user_data=UserData(external_id="cust_123"),
    )


def send(step, events, access=token):
    FacebookAdsApi.init(access_token=access, crash_log=False)
    try:
        answer = EventRequest(pixel_id=pixel, events=events, partner_agent="rapidmetrics-test").execute()
    except FacebookRequestError as error:
        return {"step": step, "error": {"status": error.http_status(), **error.body()["error"]}}
    return {"step": step, "answer": answer.to_dict()}


said = [
    send("a purchase", [purchase("python:1")]),
    send("a batch", [purchase("python:2"), purchase("python:3"), lead("python:4")]),
    send("an old event in a batch", [purchase("python:5"), purchase("python:6", now - 8 * 86_400)]),
    send("a wrong token", [purchase("python:7")], access="nobodys"),
]
print(json.dumps(said))
