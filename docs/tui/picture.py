#!/usr/bin/env python3
"""A screen of the terminal UI as an SVG.

usage: picture.py [--light] COLUMNSxROWS OUT.svg KEYS COMMAND...

Runs COMMAND in tmux, sends KEYS (names as tmux has them, `sleep:SECONDS`, or `text:WORDS`; separated by spaces), and draws the screen
once it stands still. Needs tmux."""

import html, re, subprocess, sys, time

PALETTE = ["#0e1116", "#e5534b", "#57ab5a", "#d8a72b", "#539bf5", "#b083f0", "#39b3b3", "#d5dae1"]
BRIGHT = ["#636e7b", "#ff938a", "#8ddb8c", "#f0cf63", "#6cb6ff", "#dcbdfb", "#56d4dd", "#ffffff"]
BACK, FORE = PALETTE[0], PALETTE[7]
LIGHT = ["#fafbfc", "#c2302b", "#2c7a2e", "#946800", "#1f62b5", "#7b45b8", "#12757a", "#22272e"]
WIDTH, HEIGHT, FONT = 8.4, 18, 14


def indexed(n):
    if n < 8:
        return PALETTE[n]
    if n < 16:
        return BRIGHT[n - 8]
    if n < 232:
        level = lambda v: 0 if v == 0 else 55 + 40 * v
        n -= 16
        return "#%02x%02x%02x" % (level(n // 36), level(n // 6 % 6), level(n % 6))
    return "#%02x%02x%02x" % ((8 + 10 * (n - 232),) * 3)


class Pen:
    def __init__(self):
        self.reset()

    def reset(self):
        self.fore, self.back, self.bold, self.dim, self.reverse = None, None, False, False, False

    def take(self, codes):
        codes = [int(c or 0) for c in codes.split(";")] if codes else [0]
        while codes:
            c = codes.pop(0)
            if c == 0:
                self.reset()
            elif c in (1, 2, 7):
                setattr(self, {1: "bold", 2: "dim", 7: "reverse"}[c], True)
            elif c == 22:
                self.bold = self.dim = False
            elif c == 27:
                self.reverse = False
            elif c in (38, 48):
                kind = codes.pop(0)
                colour = indexed(codes.pop(0)) if kind == 5 else "#%02x%02x%02x" % tuple(codes.pop(0) for _ in range(3))
                setattr(self, "fore" if c == 38 else "back", colour)
            elif c in (39, 49):
                setattr(self, "fore" if c == 39 else "back", None)
            elif 30 <= c < 38 or 90 <= c < 98:
                self.fore = PALETTE[c - 30] if c < 38 else BRIGHT[c - 90]
            elif 40 <= c < 48 or 100 <= c < 108:
                self.back = PALETTE[c - 40] if c < 48 else BRIGHT[c - 100]

    def colours(self):
        fore, back = self.fore or FORE, self.back or BACK
        return (back, fore) if self.reverse else (fore, back)


def runs(line, pen):
    """(column, text, pen's attributes) of each stretch in one style. Every character counts one cell: the screens of this folder have no others.

    tmux says what changes, from the first line to the last: the pen goes on as the line before left it."""
    column = 0
    for piece in re.split(r"(\x1b\[[0-9;]*m)", line):
        if piece.startswith("\x1b["):
            pen.take(piece[2:-1])
        elif piece:
            yield column, piece, (*pen.colours(), pen.bold, pen.dim)
            column += len(piece)


def svg(lines, columns):
    wide, high = columns * WIDTH + 16, len(lines) * HEIGHT + 16
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {high}" font-size="{FONT}" '
        'font-family="\'JetBrains Mono\', \'DejaVu Sans Mono\', Menlo, Consolas, monospace">',
        f'<rect width="100%" height="100%" rx="6" fill="{BACK}"/>',
    ]
    pen = Pen()
    for row, line in enumerate(lines):
        top = 8 + row * HEIGHT
        for column, text, (fore, back, bold, dim) in runs(line, pen):
            left, width = 8 + column * WIDTH, len(text) * WIDTH
            if back != BACK:
                out.append(f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{HEIGHT}" fill="{back}"/>')
            # Full blocks as one area: letters beside each other leave seams.
            for block in re.finditer("█+", text):
                from_, size = left + block.start() * WIDTH, (block.end() - block.start()) * WIDTH
                fade = ' opacity="0.6"' if dim else ""
                out.append(f'<rect x="{from_:.1f}" y="{top}" width="{size:.1f}" height="{HEIGHT}" fill="{fore}"{fade}/>')
            text = text.replace("█", " ")
            if text.strip():
                style = (' font-weight="bold"' if bold else "") + (' opacity="0.6"' if dim else "")
                out.append(
                    f'<text xml:space="preserve" x="{left:.1f}" y="{top + 14}" textLength="{width:.1f}" '
                    f'lengthAdjust="spacingAndGlyphs" fill="{fore}"{style}>{html.escape(text)}</text>'
                )
    return "\n".join([*out, "</svg>", ""])


def main():
    global PALETTE, BACK, FORE
    arguments = sys.argv[1:]
    if arguments[0] == "--light":
        PALETTE, (BACK, FORE) = LIGHT, (LIGHT[0], LIGHT[7])
        arguments.pop(0)
    size, out, keys, *command = arguments
    columns, rows = map(int, size.split("x"))
    tmux = ["tmux", "-L", "trimtab-picture"]
    start = ["new-session", "-d", "-x", str(columns), "-y", str(rows), *command]
    subprocess.run([*tmux, "-f", "/dev/null", *start, ";", "set", "-g", "status", "off"], check=True)
    screen = lambda: subprocess.run([*tmux, "capture-pane", "-e", "-p", "-N"], check=True, capture_output=True, text=True).stdout
    try:
        for key in keys.split():
            if key.startswith("sleep:"):
                time.sleep(float(key[6:]))
            elif key.startswith("text:"):
                subprocess.run([*tmux, "send-keys", "-l", key[5:]], check=True)
            else:
                subprocess.run([*tmux, "send-keys", key], check=True)
        before, seen = None, screen()
        for _ in range(20):
            if before == seen:
                break
            time.sleep(0.2)
            before, seen = seen, screen()
    finally:
        subprocess.run([*tmux, "kill-server"])
    lines = seen.split("\n")[:rows]
    with open(out, "w") as file:
        file.write(svg(lines, columns))


main()
