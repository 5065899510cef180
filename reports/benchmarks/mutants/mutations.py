"""Mutants of a module: its text with one small change, at every place that has one.

The operators are the usual ones of mutation testing (Jia & Harman, 2011). Annotations, texts,
`__all__`, what is for the type checker alone and the arguments of ``@dataclass`` are left as they
are.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

__all__ = ["OPERATORS", "Mutant", "mutants"]

Change = tuple[ast.AST, str]  # a node, and the text that takes its place
SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
UNSEEN = ("annotation", "returns", "type_params")  # fields of nodes that hold types


@dataclass(frozen=True)
class Mutant:
    """One change to a module.

    Attributes
    ----------
    operator : str
    start, end : int
        The bytes of the module that it takes the place of.
    before, after : str
        What stands there, and what takes its place.
    line : int
        Where it begins; from 1.
    text : str
        That line.
    first, last : int
        The lines of the statement that it is in, up to the changed place.
    imported : bool
        Whether it runs when the module is imported, and not when a function is called.
    """

    operator: str
    start: int
    end: int
    before: str
    after: str
    line: int
    text: str
    first: int
    last: int
    imported: bool

    def of(self, source: bytes) -> bytes:
        """Return the module with the change."""
        return source[: self.start] + self.after.encode() + source[self.end :]


def mutants(source: bytes) -> list[Mutant]:
    """Return all mutants of a module, in the order of its text."""
    lines = source.splitlines(keepends=True)
    starts = [0, *accumulate(map(len, lines))]
    found = []
    for node, statement, imported in _places(ast.parse(source)):
        for operator, changes in OPERATORS.items():
            for place, after in changes(node):
                start = starts[place.lineno - 1] + place.col_offset
                end = starts[place.end_lineno - 1] + place.end_col_offset
                before = source[start:end].decode()
                found.append(
                    Mutant(
                        operator,
                        start,
                        end,
                        before,
                        after,
                        line=place.lineno,
                        text=lines[place.lineno - 1].decode().strip(),
                        first=min(statement.lineno, place.lineno),
                        last=place.end_lineno,
                        imported=imported,
                    )
                )
    return sorted(found, key=lambda one: (one.start, one.end, one.operator, one.after))


def _places(
    node: ast.AST, statement: ast.AST | None = None, *, imported: bool = True
) -> Iterator[tuple[ast.AST, ast.AST, bool]]:
    """Walk over what may change: each node with its statement, and whether importing runs it."""
    if _is_left(node):
        return
    if isinstance(node, ast.stmt | ast.ExceptHandler):
        statement = node
    if statement is not None:
        yield node, statement, imported
    for name, value in ast.iter_fields(node):
        if name in UNSEEN:
            continue
        inside = isinstance(node, ast.FunctionDef | ast.Lambda) and name == "body"
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _places(child, statement, imported=imported and not inside)


def _is_left(node: ast.AST) -> bool:
    """Whether a node and all in it stay as they are."""
    match node:
        case ast.JoinedStr() | ast.If(test=ast.Name("TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name("__all__")]):
            return True
        case ast.Call(func=ast.Name("dataclass")):
            return True
    return False


# --- operators -----------------------------------------------------------------------------------


def comparison(node: ast.AST) -> Iterator[Change]:
    """Move a border by one, or turn an equality round."""
    if isinstance(node, ast.Compare):
        for at, operator in enumerate(node.ops):
            ops = [*node.ops[:at], SWAPPED[type(operator)](), *node.ops[at + 1 :]]
            yield node, _text(ast.Compare(node.left, ops, node.comparators))


def arithmetic(node: ast.AST) -> Iterator[Change]:
    """Exchange plus and minus, times and divided by, and such."""
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPPED:
        yield node, _text(ast.BinOp(node.left, SWAPPED[type(node.op)](), node.right))
    if isinstance(node, ast.AugAssign) and type(node.op) in SWAPPED:
        yield node, ast.unparse(ast.AugAssign(node.target, SWAPPED[type(node.op)](), node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Invert):
        yield node, _text(node.operand)


def boolean(node: ast.AST) -> Iterator[Change]:
    """Exchange and and or, or drop a not."""
    if isinstance(node, ast.BoolOp):
        yield node, _text(ast.BoolOp(SWAPPED[type(node.op)](), node.values))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node, _text(node.operand)


def constant(node: ast.AST) -> Iterator[Change]:
    """Take another number, or the other truth value."""
    fields = [] if isinstance(node, ast.arguments) else [v for _, v in ast.iter_fields(node)]
    for value in fields:
        for child in value if isinstance(value, list) else [value]:
            yield from _other(child)


def default_argument(node: ast.AST) -> Iterator[Change]:
    """Take another number, or the other truth value, where the caller names none."""
    if isinstance(node, ast.arguments):
        for default in (*node.defaults, *node.kw_defaults):
            yield from _other(default)


def return_value(node: ast.AST) -> Iterator[Change]:
    """Return nothing."""
    match node:
        case ast.Return(None) | ast.Return(ast.Constant(None)):
            return
        case ast.Return():
            yield node, "return None"


def removed_statement(node: ast.AST) -> Iterator[Change]:
    """Leave out a call, a raise, a jump, or a change of something that is there already."""
    match node:
        case ast.Raise() | ast.Continue() | ast.Break() | ast.AugAssign() | ast.Expr(ast.Call()):
            yield node, "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield node, "pass"


def negated_condition(node: ast.AST) -> Iterator[Change]:
    """Turn a condition round."""
    conditions: list[ast.expr] = []
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        conditions = [node.test]
    if isinstance(node, ast.comprehension):
        conditions = node.ifs
    for condition in conditions:
        yield condition, _text(ast.UnaryOp(ast.Not(), condition))


OPERATORS: dict[str, Callable[[ast.AST], Iterator[Change]]] = {
    each.__name__.replace("_", " "): each
    for each in (
        comparison,
        arithmetic,
        boolean,
        constant,
        default_argument,
        return_value,
        removed_statement,
        negated_condition,
    )
}


def _other(node: ast.AST | None) -> Iterator[Change]:
    match node:
        case ast.Constant(bool(value)):
            yield node, str(not value)
        case ast.Constant(int(value)):
            yield node, str(value + 1)
        case ast.Constant(float(value)):
            yield node, str(2 * value or 1.0)


def _text(node: ast.expr) -> str:
    return f"({ast.unparse(node)})"
