#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
How much stack each BPF program takes at most, from the objects as built: stack.py OBJECT… Fails when one takes more than
kernels before 6.10 allow, and tells the calls on its way. No machine must boot for that.

They allow 512 bytes to a program and all it calls, each function's share rounded up to 32 (check_max_stack_depth() in
kernel/bpf/verifier.c). A function's share is the lowest address below r10 that it uses; a callback counts as called.
"""
import struct
import sys
from collections import namedtuple

LIMIT = 512
ROUND = 32
MAX_FRAMES = 8

INSTRUCTION = 8
CALL, LOAD_ADDRESS, MOVE, ADD = 0x85, 0x18, 0xBF, 0x07
CLASS_LOAD, CLASS_STORE, CLASS_STORE_REGISTER = 1, 2, 3
FRAME_POINTER = 10

SECTION_SYMBOLS, SECTION_RELOCATIONS, SECTION_EXECUTABLE = 2, 9, 4
SYMBOL_FUNCTION = 2

Section = namedtuple("Section", "name kind flags content link info")
Symbol = namedtuple("Symbol", "name kind section value size")


def text_at(table, offset):
    return table[offset : table.index(b"\0", offset)].decode()


def read_object(path):
    """Its sections, its symbols, and of each section which place names which symbol."""
    with open(path, "rb") as file:
        data = file.read()
    start, = struct.unpack_from("<Q", data, 40)
    size, count, names_at = struct.unpack_from("<HHH", data, 58)
    raw = [struct.unpack_from("<IIQQQQIIQQ", data, start + i * size) for i in range(count)]
    contents = [data[header[4] : header[4] + header[5]] for header in raw]
    sections = [
        Section(text_at(contents[names_at], header[0]), header[1], header[2], content, header[6], header[7])
        for header, content in zip(raw, contents)
    ]
    table = next(section for section in sections if section.kind == SECTION_SYMBOLS)
    symbols = [
        Symbol(text_at(sections[table.link].content, name), info & 15, section, value, length)
        for name, info, _, section, value, length in struct.iter_unpack("<IBBHQQ", table.content)
    ]
    named = {}
    for section in sections:
        if section.kind == SECTION_RELOCATIONS:
            for place, info in struct.iter_unpack("<QQ", section.content):
                named[section.info, place] = symbols[info >> 32]
    return sections, symbols, named


class Function:
    def __init__(self, symbol, sections, named):
        self.name = symbol.name
        self.share = 0
        self.calls = []  # where: section, offset
        code = sections[symbol.section].content[symbol.value : symbol.value + symbol.size]
        copy = None  # the register that the instruction before made a copy of the frame pointer
        for i, (operation, registers, offset, immediate) in enumerate(struct.iter_unpack("<BBhi", code)):
            to, source = registers & 15, registers >> 4
            place = symbol.value + i * INSTRUCTION
            target = named.get((symbol.section, place))
            kind = operation & 7
            if operation == CALL and source == 1:
                if not target:
                    self.calls.append((symbol.section, place + (immediate + 1) * INSTRUCTION))
                elif target.section:  # 0: the kernel's
                    self.calls.append((target.section, target.value + (immediate + 1) * INSTRUCTION))
            elif operation == LOAD_ADDRESS and target and sections[target.section].flags & SECTION_EXECUTABLE:
                self.calls.append((target.section, target.value + immediate))
            elif operation == ADD and to == copy:
                self.share = max(self.share, -immediate)
            elif kind == CLASS_LOAD and source == FRAME_POINTER:
                self.share = max(self.share, -offset)
            elif kind in (CLASS_STORE, CLASS_STORE_REGISTER) and to == FRAME_POINTER:
                self.share = max(self.share, -offset)
            copy = to if operation == MOVE and source == FRAME_POINTER else None
        self.share = -(-max(self.share, 1) // ROUND) * ROUND


def deepest(functions, place, known):
    """The calls from there that take most: their shares' sum, and the functions."""
    if place not in known:
        function = functions[place]
        below = [deepest(functions, call, known) for call in set(function.calls)]
        total, way = max(below, key=lambda found: found[0], default=(0, []))
        known[place] = total + function.share, [function] + way
    return known[place]


def main():
    status = 0
    most = (0, "")
    for path in sys.argv[1:]:
        sections, symbols, named = read_object(path)
        functions = {
            (symbol.section, symbol.value): Function(symbol, sections, named)
            for symbol in symbols
            if symbol.kind == SYMBOL_FUNCTION and symbol.section
        }
        known = {}
        for place, program in functions.items():
            if sections[place[0]].name == ".text":
                continue
            total, way = deepest(functions, place, known)
            most = max(most, (total, program.name))
            if total > LIMIT or len(way) > MAX_FRAMES:
                print(f"{path}: {program.name} takes {total} bytes of stack, not up to {LIMIT}:")
                print("".join(f"  {function.share:4d} {function.name}\n" for function in way), end="")
                status = 1
    print(f"stack of BPF programs: {most[0]} of {LIMIT} bytes at most, {most[1]}")
    return status


sys.exit(main())
