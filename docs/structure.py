"""Draws the folders of the package and their imports, layers from top to bottom, as an SVG.

All of it is read from the syntax trees: nothing of the package is imported, and no folder is named here. The drawing
is written, and held fresh, by docs/generate.py.

A folder stands above all that it imports. An arrow that other arrows imply is left out: when `tick` imports
`supervise` and `supervise` imports `store`, the arrow from `tick` to `store` says nothing new. An import that closes a circle is a broken red arrow upwards.
"""

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

Edges = dict[str, set[str]]
Layers = list[list[str]]

HEIGHT, DOWN, MARGIN = 40, 58, 16  # of a box, between layers, around all
LETTER, PADDING, APART = 8, 28, 18  # in a box, between boxes
BEND = "|"  # in the name of a place where an arrow passes a layer
ROUNDS = 30
HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">
<title>The folders of {package} and their imports</title>
<!-- Written by docs/generate.py from the imports of {package}/. Do not edit. -->
<style>
svg {{ background: #ffffff }}
text {{ font: 600 13px system-ui, sans-serif; fill: #1f2933; text-anchor: middle }}
text.size {{ font-weight: 400; font-size: 11px; fill: #52606d }}
rect {{ fill: #eef4fb; stroke: #52779f }}
path {{ fill: none; stroke: #7d94ad; stroke-width: 1.3 }}
path.back {{ stroke: #c0392b; stroke-dasharray: 5 3 }}
marker path {{ fill: #52779f; stroke: none }}
</style>
<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">\
<path d="M0 0L8 4L0 8z"/></marker>
"""


def drawing(package: Path) -> str:
    """Return the SVG of a package."""
    sizes, edges = read(package)
    back = backward(edges)
    edges = {one: {each for each in to if (one, each) not in back} for one, to in edges.items()}
    layers = layered(edges)
    chains = bent(layers, reduced(edges))
    order(layers, chains)
    place = positions(layers, chains)
    return picture(package.name, layers, place, chains, back, sizes)


# ---- the imports


def read(package: Path) -> tuple[dict[str, int], Edges]:
    """Return how many modules each box holds, and which boxes it imports."""
    trees = {
        name(path, package): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(package.rglob("*.py"))
    }
    del trees[package.name]  # it looks up names for others, and imports nothing itself
    sizes: dict[str, int] = {}
    edges: Edges = {}
    for module, tree in trees.items():
        sizes[box(module)] = sizes.get(box(module), 0) + 1
        targets = {box(each) for each in imported(tree) if each in trees}
        edges.setdefault(box(module), set()).update(targets - {box(module)})
    return sizes, edges


def name(path: Path, package: Path) -> str:
    """Return the dotted name of a file; of the `__init__` of a folder that of the folder."""
    parts = [package.name, *path.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def box(module: str) -> str:
    """Return the box of a module: its folder at the top of the package, or itself where it stands there alone."""
    return module.split(".")[1]


def imported(tree: ast.AST) -> Iterator[str]:
    """Give each name that a module may import as a module, wherever it does; not what only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (node.module or "", *(f"{node.module}.{each.name}" for each in node.names))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imported(ast.Module(node.orelse, []))
        else:
            yield from imported(node)


# ---- the graph


def reach(edges: Edges) -> Edges:
    """Return of each box all that its imports lead to."""
    found = {}
    for start in edges:
        seen: set[str] = set()
        todo = [start]
        while todo:
            new = edges[todo.pop()] - seen
            seen |= new
            todo += new
        found[start] = seen
    return found


def backward(edges: Edges) -> set[tuple[str, str]]:
    """Return the edges that close a circle: few, so that without them there is none."""
    far = reach(edges)
    left = {one for one in edges if one in far[one]}
    back: set[tuple[str, str]] = set()
    while left:

        def excess(one: str) -> tuple[int, str]:
            used_by = sum(one in edges[other] for other in left)
            return len(edges[one] & left) - used_by, one

        first = max(left, key=excess)
        left.remove(first)
        back |= {(one, first) for one in left if first in edges[one] and one in far[first]}
    return back


def reduced(edges: Edges) -> Edges:
    """Return the edges that no others imply."""
    far = reach(edges)
    return {
        one: {each for each in to if not any(each in far[other] for other in to)}
        for one, to in edges.items()
    }


def layered(edges: Edges) -> Layers:
    """Return the boxes by layer, from those that nothing imports down to those that import nothing."""
    heights: dict[str, int] = {}

    def height(one: str) -> int:
        if one not in heights:
            heights[one] = 1 + max(map(height, edges[one]), default=-1)
        return heights[one]

    layers: Layers = [[] for _ in range(1 + max(map(height, edges)))]
    for one in sorted(edges):
        layers[-1 - height(one)].append(one)
    return layers


# ---- where it all stands


def bent(layers: Layers, edges: Edges) -> list[list[str]]:
    """Return each arrow as the places it passes, one in each layer; those between its ends are put into the layers."""
    row = {each: number for number, layer in enumerate(layers) for each in layer}
    chains = []
    for one in sorted(edges):
        for target in sorted(edges[one]):
            between = [f"{one}{BEND}{target}{BEND}{at}" for at in range(row[one] + 1, row[target])]
            for at, each in enumerate(between, row[one] + 1):
                layers[at].append(each)
            chains.append([one, *between, target])
    return chains


def neighbours(chains: list[list[str]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return what stands above each place and what below, by the arrows."""
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for chain in chains:
        for upper, lower in itertools.pairwise(chain):
            below.setdefault(upper, []).append(lower)
            above.setdefault(lower, []).append(upper)
    return above, below


def order(layers: Layers, chains: list[list[str]]) -> None:
    """Sort each layer so that few arrows cross: by the middle of what each is tied to, from both sides in turn."""
    above, below = neighbours(chains)
    best = [[*layer] for layer in layers]
    for number in range(ROUNDS):
        down = number % 2 == 0
        tied = above if down else below
        previous: dict[str, int] = {}
        for layer in layers if down else reversed(layers):
            own = {each: float(at) for at, each in enumerate(layer)}
            for each in layer:
                ends = [previous[other] for other in tied.get(each, [])]
                own[each] = sum(ends) / len(ends) if ends else own[each]
            layer.sort(key=own.__getitem__)
            previous = {each: at for at, each in enumerate(layer)}
        if crossings(layers, below) < crossings(best, below):
            best = [[*layer] for layer in layers]
    layers[:] = best


def crossings(layers: Layers, below: dict[str, list[str]]) -> int:
    """Return how many arrows cross."""
    found = 0
    for upper, lower in itertools.pairwise(layers):
        at = {each: number for number, each in enumerate(lower)}
        ends = [sorted(at[other] for other in below.get(each, [])) for each in upper]
        flat = [end for each in ends for end in each]
        found += sum(a > b for number, a in enumerate(flat) for b in flat[number + 1 :])
    return found


def positions(layers: Layers, chains: list[list[str]]) -> dict[str, float]:
    """Return the middle of each place across, near those it is tied to, without moving one over another."""
    above, below = neighbours(chains)
    offsets = {}
    for layer in layers:
        at = 0.0
        for left, each in zip(["", *layer], layer, strict=False):
            at += (width(left) + width(each)) / 2 + APART if left else 0.0
            offsets[each] = at
    place = {each: offsets[each] - offsets[layer[-1]] / 2 for layer in layers for each in layer}
    for number in range(4 * ROUNDS):
        for layer in layers if number % 2 else reversed(layers):
            wanted = []
            for each in layer:
                ends = [place[other] for other in above.get(each, []) + below.get(each, [])]
                mean = sum(ends) / len(ends) if ends else place[each]
                wanted.append(mean - offsets[each])
            place |= zip(
                layer,
                map(float.__add__, rising(wanted), (offsets[each] for each in layer)),
                strict=True,
            )
    left = min(place[each] - width(each) / 2 for each in place)
    return {each: at - left + MARGIN for each, at in place.items()}


def rising(wanted: list[float]) -> list[float]:
    """Return the numbers nearest to these of which none is below the one before it."""
    blocks: list[tuple[float, int]] = []
    for value in wanted:
        mean, count = value, 1
        while blocks and blocks[-1][0] > mean:
            other, size = blocks.pop()
            mean = (mean * count + other * size) / (count + size)
            count += size
        blocks.append((mean, count))
    return [mean for mean, count in blocks for _ in range(count)]


def width(place: str) -> float:
    """Return how wide a place is: a box by its name, an arrow that passes hardly at all."""
    return 2.0 if BEND in place or not place else max(80.0, LETTER * len(place) + PADDING)


# ---- the picture


def picture(
    package: str,
    layers: Layers,
    place: dict[str, float],
    chains: list[list[str]],
    back: set[tuple[str, str]],
    sizes: dict[str, int],
) -> str:
    """Return the SVG."""
    top = {each: MARGIN + at * (HEIGHT + DOWN) for at, layer in enumerate(layers) for each in layer}
    wide = round(max(place[each] + width(each) / 2 for each in place) + MARGIN)
    high = round(len(layers) * (HEIGHT + DOWN) - DOWN + 2 * MARGIN)
    parts = [HEAD.format(package=package, width=wide, height=high)]
    parts += [
        f'<path d="{line(chain, place, top)}" marker-end="url(#head)"/>\n' for chain in chains
    ]
    for one, other in sorted(back):
        begin, end = f"{place[one]:.0f} {top[one]}", f"{place[other]:.0f} {top[other] + HEIGHT}"
        parts.append(f'<path class="back" d="M{begin}L{end}" marker-end="url(#head)"/>\n')
    for each in sorted(sizes):
        parts.append(drawn(each, place[each], top[each], sizes[each]))
    return "".join([*parts, "</svg>\n"])


def line(chain: list[str], place: dict[str, float], top: dict[str, int]) -> str:
    """Return the curve of an arrow: upright where it leaves, passes a layer and arrives."""
    x, y = place[chain[0]], top[chain[0]] + HEIGHT
    text = f"M{x:.0f} {y}"
    for each in chain[1:]:
        to, end = place[each], top[each]
        text += f"C{x:.0f} {y + DOWN // 2} {to:.0f} {end - DOWN // 2} {to:.0f} {end}"
        x, y = to, end
        if BEND in each:
            y += HEIGHT
            text += f"V{y}"
    return text


def drawn(box: str, middle: float, top: int, size: int) -> str:
    """Return a box with its name and how many modules it holds."""
    left, wide = middle - width(box) / 2, width(box)
    count = f"{size} modules" if size > 1 else "1 module"
    return (
        f'<rect x="{left:.0f}" y="{top}" width="{wide:.0f}" height="{HEIGHT}" rx="6"/>'
        f'<text x="{middle:.0f}" y="{top + 17}">{box}</text>'
        f'<text class="size" x="{middle:.0f}" y="{top + 32}">{count}</text>\n'
    )
