"""Places mutants of cargo-mutants beside the code that they change, each behind `crate::mutant_switch::is(NUMBER)`."""

import collections
import re

import tree_sitter
import tree_sitter_rust

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_rust.language()))
OPAQUE = {"token_tree", "line_comment", "block_comment", "string_literal", "raw_string_literal", "attribute_item"}


def marked(number, text):
    """Marks what belongs to a mutant, so that an error of the compiler can be traced to it."""
    return f"/*<{number}*/{text}/*{number}>*/"


def ranges(source):
    """The marked ranges of a source: (begin, end, number)."""
    begins = {int(m[1]): m.start() for m in re.finditer(rb"/\*<(\d+)\*/", source)}
    ends = {int(m[1]): m.end() for m in re.finditer(rb"/\*(\d+)>\*/", source)}
    return [(begin, ends[number], number) for number, begin in begins.items() if number in ends]


class Placing:
    """One source with the mutants that can be placed in it."""

    def __init__(self, source, mutants):
        """`source`: octets. `mutants`: (number, mutant as cargo-mutants lists it)."""
        self.source = source
        self.placed = set()
        lines = source.decode().split("\n")
        starts = [0]
        for line in lines:
            starts.append(starts[-1] + len(line.encode()) + 1)
        self.wanted = collections.defaultdict(list)
        for number, mutant in mutants:
            line, column = (mutant["span"]["start"][key] for key in ("line", "column"))
            at = starts[line - 1] + len(lines[line - 1][: column - 1].encode())
            self.wanted[mutant["genre"], at].append((number, mutant["replacement"]))
        root = PARSER.parse(source).root_node
        self.text = source[: root.start_byte].decode() + self.render(root) + source[root.end_byte :].decode()

    def of(self, node):
        return self.source[node.start_byte : node.end_byte].decode()

    def take(self, genre, node):
        """The mutants of a genre at the beginning of a node, unless it is evaluated by the compiler."""
        found = self.wanted.get((genre, node.start_byte), [])
        return [] if found and self.is_constant(node) else found

    def is_constant(self, node):
        while node:
            if node.type in ("const_item", "static_item", "macro_definition", "array_type"):
                return True
            if node.type == "function_item":
                modifiers = [child for child in node.children if child.type == "function_modifiers"]
                if modifiers and re.search(r"\bconst\b", self.of(modifiers[0])):
                    return True
            node = node.parent
        return False

    def alive(self, number):
        self.placed.add(number)
        return f"crate::mutant_switch::is({number})"

    def instead(self, choices, otherwise, end=""):
        """An expression that is the first of the choices whose mutant is alive."""
        all_choices = "".join(marked(n, f"if {self.alive(n)} {{ {text}{end} }} else ") for n, text in choices)
        return f"{all_choices}{{ {otherwise}{end} }}"

    def render(self, node):
        if node.type in OPAQUE:
            return self.of(node)
        text, at = "", node.start_byte
        for child in node.children:
            text += self.source[at : child.start_byte].decode() + self.render(child)
            at = child.end_byte
        text += self.source[at : node.end_byte].decode()
        render = getattr(self, "render_" + node.type, None)
        if render:
            text = render(node, text)
        block = node.parent
        if block and block.type == "block" and block.parent and block.parent.type == "function_item":
            for number, value in self.take("FnValue", node):
                text = marked(number, f"if {self.alive(number)} {{ return {value}; }} ") + text
        return text

    def render_binary_expression(self, node, text):
        operator = node.child_by_field_name("operator")
        found = self.take("BinaryOperator", operator) if operator and not has_let(node) else []
        left, right = (self.of(node.child_by_field_name(side)) for side in ("left", "right"))
        return f"({self.instead([(n, f'{left} {new} {right}') for n, new in found], text)})" if found else text

    def render_compound_assignment_expr(self, node, text):
        found = self.take("BinaryOperator", node.child_by_field_name("operator"))
        left, right = (self.of(node.child_by_field_name(side)) for side in ("left", "right"))
        return f"{{ {self.instead([(n, f'{left} {new} {right}') for n, new in found], text, ';')} }}" if found else text

    def render_unary_expression(self, node, text):
        found, operand = self.take("UnaryOperator", node), self.of(node.children[-1])
        return f"({self.instead([(n, new + operand) for n, new in found], text)})" if found else text

    def render_match_pattern(self, node, text):
        condition = node.child_by_field_name("condition")
        gone = "".join(marked(n, f"!{self.alive(n)} && ") for n, _ in self.take("MatchArm", node.parent))
        guards = self.take("MatchArmGuard", condition) if condition else []
        if not gone and not guards:
            return text
        if not condition:
            return f"{self.of(node)} if {gone}true "
        pattern = self.source[node.start_byte : next(c for c in node.children if c.type == "if").start_byte].decode()
        guard = self.render(condition)
        if not has_let(condition):
            guard = f"({self.instead(guards, guard)})" if guards else f"({guard})"
        return f"{pattern} if {gone}{guard} "

    def render_field_initializer(self, node, text):
        found = self.take("StructField", node)
        base = [child for child in node.parent.children if child.type == "base_field_initializer"]
        if not found or not base:
            return text
        name = self.of(node.child_by_field_name("field")) if node.type == "field_initializer" else self.of(node)
        value = text.split(":", 1)[1] if node.type == "field_initializer" else text
        return f"{name}: ({self.instead([(found[0][0], f'({self.of(base[0].children[-1])}).{name}')], value)})"

    render_shorthand_field_initializer = render_field_initializer


def has_let(node):
    """Whether `let` stands in a condition, where no parentheses may be."""
    inside = ("binary_expression", "let_condition", "let_chain", "parenthesized_expression")
    return node.type in ("let_condition", "let_chain") or any(has_let(c) for c in node.children if c.type in inside)
