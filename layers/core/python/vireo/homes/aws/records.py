"""Records in DynamoDB.

A record is ``pk`` ("tenant#key"), ``sk`` ("-" + sort, because DynamoDB refuses an empty one),
``item`` (packed, see `vireo.homes.items`), ``version``, ``expires`` for DynamoDB's TTL, and
``sums``: the amounts added to numeric fields since the item was written, so that adding is atomic
without reading. ``sums`` keeps ints and floats apart ("i#views", "f#seconds"), because DynamoDB has
only one kind of number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from vireo.homes.aws.errors import Contended, translated
from vireo.homes.items import (
    checked_amounts,
    checked_number,
    checked_writes,
    pack,
    stored,
    whole_second,
)
from vireo.homes.names import checked_key, sort_range
from vireo.ports import (
    Clock,
    Conflict,
    Delete,
    Item,
    Page,
    Put,
    Record,
    Refused,
    Table,
    Unavailable,
)
from vireo.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

T = TypeVar("T")
_Attributes = Mapping[str, Any]

_GONE = "(attribute_not_exists(pk) OR expires <= :now)"
_ALIVE = "(attribute_exists(pk) AND (attribute_not_exists(expires) OR expires > :now))"
#: Attempts at a write that DynamoDB refuses because of a concurrent one.
_TRIES = 5


class AwsRecords:
    """`vireo.ports.Records` of one tenant.

    botocore retries after a lost response. So an `add` may, rarely, count twice, and a conditional
    write that had succeeded may report a `Conflict`.
    """

    def __init__(
        self, client: Callable[[], DynamoDBClient], tenant: str, settings: Settings, clock: Clock
    ) -> None:
        self._client = client
        self._tenant = tenant
        self._settings = settings
        self._clock = clock

    def get(self, table: Table, key: str, sort: str = "") -> Record | None:
        """See the port."""
        where = self._where(table, key, sort)
        with translated("records"):
            found = self._client().get_item(**where, ConsistentRead=True).get("Item")
        return None if found is None or self._expired(found) else _record(key, found)

    def query(
        self,
        table: Table,
        key: str,
        *,
        prefix: str = "",
        after: str | None = None,
        before: str | None = None,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> Page:
        """See the port."""
        checked_key(key, max(prefix, after or "", before or "", key=len))
        if limit < 1:
            raise Refused("a query's limit is at least 1")
        first, end = sort_range("-" + prefix, _sk(after), _sk(before))
        assert end is not None  # "-" + prefix always has a successor
        records: list[Record] = []
        if first < end:
            records = self._between(
                table, key, first, end, limit=limit + 1, newest_first=newest_first
            )
        return Page(records[:limit], records[limit - 1].sort if len(records) > limit else None)

    def _between(
        self, table: Table, key: str, first: str, end: str, *, limit: int, newest_first: bool
    ) -> list[Record]:
        """Records with first ≤ sk < end; BETWEEN includes both ends, and a page has 1 MB."""
        records: list[Record] = []
        request: dict[str, Any] = {
            "TableName": self._settings.table(table),
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :end",
            "ExpressionAttributeValues": {
                ":pk": {"S": f"{self._tenant}#{key}"},
                ":first": {"S": first},
                ":end": {"S": end},
            },
            "ConsistentRead": True,
            "ScanIndexForward": not newest_first,
        }
        while len(records) < limit:
            with translated("records"):
                answer = self._client().query(**request, Limit=limit - len(records) + 1)
            records += [
                _record(key, found)
                for found in answer["Items"]
                if found["sk"]["S"] != end and not self._expired(found)
            ]
            if "LastEvaluatedKey" not in answer:
                break
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        return records[:limit]

    def put(
        self,
        table: Table,
        key: str,
        sort: str,
        item: Item,
        *,
        expect: int | None = None,
        expires: float | None = None,
    ) -> int:
        """See the port."""
        write = Put(table, key, sort, item, expect, expires)
        update = self._update(write, pack(item))
        if expect is not None:
            _again(lambda: self._client().update_item(**update))
            return expect + 1
        answer = _again(lambda: self._client().update_item(**update, ReturnValues="UPDATED_NEW"))
        return int(answer["Attributes"]["version"]["N"])

    def delete(self, table: Table, key: str, sort: str = "", *, expect: int | None = None) -> None:
        """See the port."""
        request = self._deletion(Delete(table, key, sort, expect))
        _again(lambda: self._client().delete_item(**request))

    def add(self, table: Table, key: str, sort: str, amounts: Mapping[str, int | float]) -> Item:
        """See the port."""
        checked = checked_amounts(amounts)
        for _ in range(_TRIES):
            try:
                item = self._add_to_existing(table, key, sort, checked)
            except Conflict:  # nothing there to add to
                try:
                    self.put(table, key, sort, checked, expect=0)
                except Conflict:  # somebody else has just made it
                    continue
                return checked
            for name in checked:
                checked_number(name, item[name])
            return item
        raise Unavailable(f"records: {table} {key!r} {sort!r} changes too fast")

    def write(self, writes: Sequence[Put | Delete]) -> None:
        """See the port."""
        packed = checked_writes(writes)
        if not writes:
            return
        actions: list[Any] = [
            {"Update": self._update(w, packed[w.table.value, w.key, w.sort])}
            if isinstance(w, Put)
            else {"Delete": self._deletion(w)}
            for w in writes
        ]
        _again(lambda: self._client().transact_write_items(TransactItems=actions))

    def _where(self, table: Table, key: str, sort: str) -> dict[str, Any]:
        checked_key(key, sort)
        return {
            "TableName": self._settings.table(table),
            "Key": {"pk": {"S": f"{self._tenant}#{key}"}, "sk": {"S": f"-{sort}"}},
        }

    def _update(self, put: Put, packed: bytes) -> dict[str, Any]:
        """A replacement of the item, as an update: only an update can increment the version."""
        expires = whole_second(put.expires)
        values: dict[str, Any] = {":item": {"B": packed}, ":sums": {"M": {}}, ":one": {"N": "1"}}
        version = ":one"
        if put.expect != 0:
            version = "if_not_exists(version, :zero) + :one"
            values[":zero"] = {"N": "0"}
        change = f"SET #item = :item, sums = :sums, version = {version}"
        if expires is None:
            change += " REMOVE expires"
        else:
            change += ", expires = :expires"
            values[":expires"] = {"N": str(expires)}
        return (
            self._where(put.table, put.key, put.sort)
            | {"UpdateExpression": change, "ExpressionAttributeNames": {"#item": "item"}}
            | self._condition(put.expect, values)
        )

    def _deletion(self, delete: Delete) -> dict[str, Any]:
        where = self._where(delete.table, delete.key, delete.sort)
        return where | self._condition(delete.expect, {})

    def _condition(self, expect: int | None, values: dict[str, Any]) -> dict[str, Any]:
        if expect is None:
            return {"ExpressionAttributeValues": values} if values else {}
        values = values | {":now": {"N": repr(self._clock.now())}}
        condition = _GONE
        if expect:
            condition = f"{_ALIVE} AND version = :expect"
            values[":expect"] = {"N": str(expect)}
        return {"ConditionExpression": condition, "ExpressionAttributeValues": values}

    def _add_to_existing(
        self, table: Table, key: str, sort: str, amounts: Mapping[str, int | float]
    ) -> Item:
        names: dict[str, str] = {}
        values = {":zero": {"N": "0"}, ":one": {"N": "1"}, ":now": {"N": repr(self._clock.now())}}
        changes = ["version = version + :one"]
        for j, (name, amount) in enumerate(amounts.items()):
            names[f"#{j}"] = _sum_name(name, amount)
            values[f":{j}"] = {"N": repr(amount)}
            changes.append(f"sums.#{j} = if_not_exists(sums.#{j}, :zero) + :{j}")
        request = self._where(table, key, sort) | {
            "UpdateExpression": "SET " + ", ".join(changes),
            "ConditionExpression": _ALIVE,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
        }
        answer = _again(lambda: self._client().update_item(**request, ReturnValues="ALL_NEW"))
        return _item(answer["Attributes"])

    def _expired(self, found: _Attributes) -> bool:
        """True from the moment of expiry; DynamoDB deletes the item only within days."""
        return "expires" in found and float(found["expires"]["N"]) <= self._clock.now()


def _again(call: Callable[[], T]) -> T:
    """The result of a call, retried while another write of the same record is in progress."""
    for attempt in range(_TRIES):
        try:
            with translated("records"):
                return call()
        except Contended:
            if attempt == _TRIES - 1:
                raise
            time.sleep(0.01 * 2**attempt)
    raise AssertionError("unreachable")


def _record(key: str, found: _Attributes) -> Record:
    return Record(key, found["sk"]["S"][1:], _item(found), int(found["version"]["N"]))


def _item(found: _Attributes) -> Item:
    item = stored(found["item"]["B"])
    for name, number in found["sums"]["M"].items():
        field, amount = name[2:], number["N"]
        before = item.get(field, 0)
        if type(before) in (int, float):  # `add` refused other fields, after DynamoDB had written
            item[field] = before + (int(amount) if name[0] == "i" else float(amount))
    return item


def _sum_name(name: str, amount: int | float) -> str:
    return f"{'f' if isinstance(amount, float) else 'i'}#{name}"


def _sk(sort: str | None) -> str | None:
    return None if sort is None else f"-{sort}"
