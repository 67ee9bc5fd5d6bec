"""Mutations of a module: small changes of its meaning, one at a time, which tests should notice."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

#: What a comparison becomes.
_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
#: What a calculation becomes.
_CALCULATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
#: Fields of nodes that are types, which do nothing when functions run.
_TYPES = {"annotation", "returns", "type_params", "decorator_list"}
#: Methods of loggers: what they say is for people, and no test's business.
_SAID = {"debug", "info", "warning", "exception"}


@dataclass(frozen=True)
class Mutant:
    """A change of one node: its number in the order of `_walk`, and which change of it."""

    path: str
    line: int
    node: int
    change: str

    @property
    def name(self) -> str:
        """What it is called in results."""
        return f"{self.path}:{self.line} #{self.node} {self.change}"


def mutants(path: str, source: str) -> Iterator[Mutant]:
    """All mutants of a module, in the order of its text."""
    for number, node in enumerate(_walk(ast.parse(source))):
        for change in _changes(node):
            yield Mutant(path, node.lineno, number, change)


def mutated(source: str, mutant: Mutant) -> str:
    """The text of the module with the change; comments and layout are lost."""
    tree = ast.parse(source)
    node = next(n for number, n in enumerate(_walk(tree)) if number == mutant.node)
    changed = _changes(node)[mutant.change](copy.deepcopy(node))
    return ast.unparse(ast.fix_missing_locations(_Replaced(node, changed).visit(tree)))


class _Replaced(ast.NodeTransformer):
    """Puts one node in another's place."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self._new if node is self._old else super().visit(node)


def _walk(tree: ast.AST) -> Iterator[Any]:
    """Nodes that may be changed, in order: no types, docstrings, or what is said in logs."""
    for name, field in ast.iter_fields(tree):
        if name in _TYPES:
            continue
        for node in field if isinstance(field, list) else [field]:
            if not isinstance(node, ast.AST) or _is_idle(node):
                continue
            if isinstance(node, (ast.stmt, ast.expr)):
                yield node
            yield from _walk(node)


def _is_idle(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=attribute))) if attribute in _SAID:
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Import() | ast.ImportFrom() | ast.JoinedStr():
            return True
    return False


def _changes(node: ast.AST) -> dict[str, Callable[[Any], ast.AST]]:
    """What may be done to a node, by name."""
    changes: dict[str, Callable[[Any], ast.AST]] = {}
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _COMPARED:
            other = _COMPARED[type(operator)]
            changes = {f"{_name(type(operator))} to {_name(other)}": _with(ops=[other()])}
        case ast.BinOp(op=operator) if type(operator) in _CALCULATED:
            after = _CALCULATED[type(operator)]
            changes = {f"{_name(type(operator))} to {_name(after)}": _with(op=after())}
        case ast.BoolOp(op=ast.And()):
            changes = {"and to or": _with(op=ast.Or())}
        case ast.BoolOp(op=ast.Or()):
            changes = {"or to and": _with(op=ast.And())}
        case ast.UnaryOp(op=ast.Not()):
            changes = {"without not": lambda found: found.operand}
        case ast.Constant(value=bool() as value):
            changes = {f"{value} to {not value}": _with(value=not value)}
        case ast.Constant(value=int() | float() as number):
            changes = {f"{number} to {number + 1}": _with(value=number + 1)}
        case ast.If():
            changes = {
                "if always": _with(test=ast.Constant(True)),
                "if never": _with(test=ast.Constant(False)),
            }
        case ast.Return(value=value) if value is not None and not _is_none(value):
            changes = {"return None": _with(value=ast.Constant(None))}
        case ast.Raise() | ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Delete():
            changes = {"left out": lambda found: ast.Pass()}
        case ast.Continue():
            changes = {"continue to break": lambda found: ast.Break()}
        case ast.Break():
            changes = {"break to continue": lambda found: ast.Continue()}
    return changes


def _with(**fields: Any) -> Callable[[Any], ast.AST]:
    def change(node: Any) -> ast.AST:
        for name, value in fields.items():
            setattr(node, name, value)
        changed: ast.AST = node
        return changed

    return change


def _name(kind: type[ast.AST]) -> str:
    return kind.__name__


def _is_none(value: ast.AST) -> bool:
    return isinstance(value, ast.Constant) and value.value is None
