#!/usr/bin/env python3
"""The PTX of gpu/kernels.c: ptx.py run TEXTS, or ptx.py assemble TEXTS PTXAS.

`run` executes each kernel thread by thread on a small interpreter and compares
what it leaves in memory with what Python makes of the same. It knows only what
our kernels use, and refuses everything else: registers that are not declared,
parameters that do not exist, reads and writes outside a buffer, barriers that
not all threads reach. `assemble` gives the texts to NVIDIA's assembler for
each device that it knows; 77 (skipped) without one. TEXTS prints the texts.
"""
import re
import struct
import subprocess
import sys
import tempfile

M32, M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
SIZE = {"u32": 4, "b32": 4, "f32": 4, "s32": 4, "u64": 8, "b64": 8, "s64": 8}
COMPARE = {"ge": lambda a, b: a >= b, "lt": lambda a, b: a < b,
           "eq": lambda a, b: a == b, "ne": lambda a, b: a != b}
STEPS = 2_000_000


def f32(bits):
    return struct.unpack("<f", struct.pack("<I", bits & M32))[0]


def bits(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


class Wrong(Exception):
    pass


class Kernel:
    def __init__(self, text, entry):
        text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)
        head, body = text.split("{", 1)
        match = re.search(r"\.entry\s+(\w+)\s*\((.*)\)\s*$", head, re.S)
        if not match or match.group(1) != entry:
            raise Wrong(f"no entry {entry}")
        for directive in (".version", ".target", ".address_size"):
            if directive not in head:
                raise Wrong(f"no {directive}")
        self.params = {}
        for param in match.group(2).split(","):
            _, kind, name = param.split()
            self.params[name] = kind[1:]
        self.registers, self.shared, self.labels, self.code = {}, {}, {}, []
        self.shared_bytes = 0
        for item in re.findall(r"\s*(?:(\w+):|([^;{}]+);)", body):
            self.add(*item)

    def add(self, label, statement):
        if label:
            self.labels[label] = len(self.code)
            return
        statement = " ".join(statement.split())
        word, _, rest = statement.partition(" ")
        if word == ".reg":
            kind, names = rest.split(" ", 1)
            for name in names.split(","):
                self.registers[name.strip()] = kind
        elif word == ".shared":
            name, count = re.fullmatch(
                r"\.align 4 \.b8 (\w+)\[(\d+)\]", rest).groups()
            self.shared[name] = self.shared_bytes
            self.shared_bytes += int(count)
        else:
            guard = None
            if word.startswith("@"):
                guard = word[1:]
                word, _, rest = rest.partition(" ")
            operands = [o.strip() for o in rest.split(",")] if rest else []
            self.code.append((guard, word.split("."), operands))


class Memory:
    """Buffers at odd distances: a wrong address hits nothing."""

    def __init__(self):
        self.buffers, self.next = {}, 0x7F0000001000

    def new(self, data):
        at = self.next
        self.buffers[at] = bytearray(data)
        self.next += len(data) + 0x1000
        return at

    def find(self, at, size):
        for base, data in self.buffers.items():
            if base <= at and at + size <= base + len(data):
                if at % size:
                    raise Wrong(f"address {at:#x} is not aligned")
                return data, at - base
        raise Wrong(f"address {at:#x} is outside of every buffer")

    def load(self, at, size):
        data, offset = self.find(at, size)
        return int.from_bytes(data[offset:offset + size], "little")

    def store(self, at, size, value):
        data, offset = self.find(at, size)
        data[offset:offset + size] = value.to_bytes(size, "little")


class Thread:
    def __init__(self, kernel, args, memory, shared, special):
        self.kernel, self.args, self.memory = kernel, args, memory
        self.shared, self.special, self.values = shared, special, {}

    def get(self, operand, size=4):
        if operand in self.special:
            return self.special[operand]
        if operand.startswith("%"):
            if operand not in self.values:
                raise Wrong(f"{operand} is read before it is written")
            return self.values[operand]
        if operand in self.kernel.shared:
            return self.kernel.shared[operand]
        if operand.startswith("0f"):
            return int(operand[2:], 16)
        return int(operand) & (M64 if size == 8 else M32)

    def put(self, register, value, kind):
        declared = self.kernel.registers.get(register)
        if declared is None:
            raise Wrong(f"{register} is not declared")
        if kind != "pred" and SIZE[declared[1:]] != SIZE[kind]:
            raise Wrong(f"{register} is {declared}, not .{kind}")
        self.values[register] = value & (M64 if SIZE.get(kind) == 8 else M32)

    def access(self, operation, operands):
        """ld and st; where is the second word that names a space."""
        words = [w for w in operation[1:] if w != "volatile"]
        space, kind = words
        size = SIZE[kind]
        operand = operands[0 if operation[0] == "st" else 1]
        name = re.fullmatch(r"\[(.+)\]", operand).group(1)
        if space == "param":
            if self.kernel.params.get(name) != kind:
                raise Wrong(f"parameter {name} is no .{kind}")
            self.put(operands[0], self.args[name], kind)
            return
        memory = self.shared if space == "shared" else self.memory
        at = self.get(name)
        if operation[0] == "st":
            memory.store(at, size, self.get(operands[1]))
        else:
            self.put(operands[0], memory.load(at, size), kind)

    def compute(self, operation, operands):
        name, kind = operation[0], operation[-1]
        size = SIZE[kind]
        values = [self.get(o, size) for o in operands[1:]]
        if name in ("mov", "cvta"):
            result = values[0]
        elif name == "add" and kind == "f32":
            result = bits(f32(values[0]) + f32(values[1]))
        elif name == "fma":
            # Exact for the small whole numbers that are tried.
            result = bits(f32(values[0]) * f32(values[1]) + f32(values[2]))
        elif name == "add":
            result = values[0] + values[1]
        elif name == "mad" and operation[1] == "lo":
            result = values[0] * values[1] + values[2]
        elif name == "mul" and operation[1] == "wide":
            self.put(operands[0], values[0] * values[1], "u64")
            return
        elif name == "shr":
            result = values[0] >> values[1]
        else:
            raise Wrong(f"unknown operation {'.'.join(operation)}")
        self.put(operands[0], result, kind)

    def run(self):
        """Yields at each barrier."""
        at = 0
        for _ in range(STEPS):
            guard, operation, operands = self.kernel.code[at]
            at += 1
            if guard and not self.get(guard):
                continue
            if operation[0] == "ret":
                return
            if operation[0] == "bra":
                at = self.kernel.labels[operands[0]]
            elif operation[0] == "bar":
                yield at
            elif operation[0] in ("ld", "st"):
                self.access(operation, operands)
            elif operation[0] == "setp":
                kind = operation[2]
                left, right = (self.get(o, SIZE[kind]) for o in operands[1:])
                self.put(operands[0], int(COMPARE[operation[1]](left, right)),
                         "pred")
            else:
                self.compute(operation, operands)
        raise Wrong("does not end")


def launch(kernel, memory, grid, block, args):
    if set(args) != set(kernel.params):
        raise Wrong(f"parameters are {list(kernel.params)}")
    for by in range(grid[1]):
        for bx in range(grid[0]):
            shared = Memory()
            shared.buffers = {0: bytearray(b"\xcd" * kernel.shared_bytes)}
            special = {"%ctaid.x": bx, "%ctaid.y": by,
                       "%ntid.x": block[0], "%ntid.y": block[1]}
            threads = [
                Thread(kernel, args, memory, shared,
                       {**special, "%tid.x": x, "%tid.y": y}).run()
                for y in range(block[1]) for x in range(block[0])]
            while threads:
                stops = [next(thread, None) for thread in threads]
                if len(set(stops)) != 1:
                    raise Wrong("not all threads reach the same barrier")
                if stops[0] is None:
                    break


def pack(form, values):
    return struct.pack(f"<{len(values)}{form}", *values)


def unpack(form, data):
    return list(struct.unpack(f"<{len(data) // struct.calcsize(form)}{form}",
                              bytes(data)))


COUNT, BLOCK = 100, 32
BLOCKS = (COUNT + BLOCK - 1) // BLOCK


def check_vector_add(kernel):
    memory = Memory()
    x, y = [i % 17 for i in range(COUNT)], [i % 5 - 2 for i in range(COUNT)]
    a, b = memory.new(pack("f", x)), memory.new(pack("f", y))
    out = memory.new(pack("f", [9] * COUNT))
    launch(kernel, memory, (BLOCKS, 1), (BLOCK, 1),
           {"a": a, "b": b, "sum": out, "count": COUNT})
    return unpack("f", memory.buffers[out]), [p + q for p, q in zip(x, y)]


def check_saxpy(kernel):
    memory = Memory()
    x, y = [i % 17 for i in range(COUNT)], [i % 5 - 2 for i in range(COUNT)]
    at, out = memory.new(pack("f", x)), memory.new(pack("f", y))
    launch(kernel, memory, (BLOCKS, 1), (BLOCK, 1),
           {"a": bits(3.0), "x": at, "y": out, "count": COUNT})
    return unpack("f", memory.buffers[out]), [3 * p + q for p, q in zip(x, y)]


def check_block_sums(kernel):
    memory = Memory()
    values = [i * i + 1 for i in range(COUNT)]
    at, out = memory.new(pack("I", values)), memory.new(pack("I", [9] * BLOCKS))
    launch(kernel, memory, (BLOCKS, 1), (BLOCK, 1),
           {"values": at, "sums": out, "count": COUNT})
    return (unpack("I", memory.buffers[out]),
            [sum(values[i * BLOCK:(i + 1) * BLOCK]) for i in range(BLOCKS)])


def check_matrix_product(kernel):
    memory, n = Memory(), 32
    x = [i % 7 - 3 for i in range(n * n)]
    y = [i % 11 - 5 for i in range(n * n)]
    a, b = memory.new(pack("f", x)), memory.new(pack("f", y))
    out = memory.new(pack("f", [9] * n * n))
    launch(kernel, memory, (n // 16, n // 16), (16, 16),
           {"a": a, "b": b, "product": out, "n": n})
    return (unpack("f", memory.buffers[out]),
            [sum(x[i // n * n + k] * y[k * n + i % n] for k in range(n))
             for i in range(n * n)])


def check_spin(kernel):
    found, expected = [], []
    for stop, sequence, rounds in ((0, 1, 50), (1, 1, 50), (7, 8, 50)):
        memory = Memory()
        word, out = memory.new(pack("Q", [stop])), memory.new(pack("Q", [9]))
        launch(kernel, memory, (1, 1), (1, 1),
               {"stop": word, "sequence": sequence, "rounds": rounds,
                "done": out})
        found += unpack("Q", memory.buffers[out])
        expected.append(0 if stop >= sequence else rounds)
    return found, expected


def text_of(texts, entry):
    return subprocess.run([texts, entry], check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def entries(texts):
    return subprocess.run([texts], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.split()


def run(texts):
    status = 0
    for entry in entries(texts):
        check = globals()["check_" + entry.removeprefix("belay_")]
        try:
            found, expected = check(Kernel(text_of(texts, entry), entry))
            wrong = None if found == expected else "gives other values"
        except Wrong as error:
            wrong = str(error)
        print(f"{entry}: {wrong or 'well'}")
        status |= wrong is not None
    return status


def self_test(texts):
    """Every kernel with one line changed must be found out."""
    changes = [
        ("belay_vector_add", "add.f32 %x, %x, %y", "add.f32 %x, %x, %x"),
        ("belay_vector_add", "setp.ge.u32 %p, %i, %n", "setp.eq.u32 %p, %i, %n"),
        ("belay_saxpy", "[%y], %v", "[%x], %v"),
        ("belay_block_sums", "bar.sync 0;", ""),
        ("belay_block_sums", "shr.u32 %half, %half, 1", "shr.u32 %half, %half, 2"),
        ("belay_matrix_product", "setp.lt.u32 %p, %k, 16", "setp.lt.u32 %p, %k, 15"),
        ("belay_matrix_product", "bar.sync 0;", ""),
        ("belay_spin", "setp.ge.u64 %p, %seen", "setp.lt.u64 %p, %seen"),
        ("belay_spin", ".reg .b64 %stop,", ".reg .b64"),
    ]
    status = 0
    for entry, old, new in changes:
        text = text_of(texts, entry)
        if old not in text:
            print(f"{entry}: no longer has: {old}")
            status = 1
            continue
        try:
            found, expected = globals()[
                "check_" + entry.removeprefix("belay_")](
                    Kernel(text.replace(old, new), entry))
            missed = found == expected
        except Wrong:
            missed = False
        if missed:
            print(f"{entry}: not found out: {new!r} instead of {old!r}")
            status = 1
    return status


def assemble(texts, ptxas):
    if not ptxas:
        print("SKIP: ptxas is not installed; the texts were not assembled")
        return 77
    listing = subprocess.run([ptxas, "--help"], text=True, check=True,
                             stdout=subprocess.PIPE).stdout
    devices = [f"sm_{n}" for n in sorted(
        {int(n) for n in re.findall(r"'sm_(\d+)'", listing)})]
    if not devices:
        print("ptxas names no device")
        return 1
    status = 0
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        for entry in entries(texts):
            file.seek(0)
            file.truncate()
            file.write(text_of(texts, entry))
            file.flush()
            for device in devices:
                result = subprocess.run(
                    [ptxas, "--warning-as-error", "-arch", device, file.name,
                     "-o", "/dev/null"], check=False)
                status |= result.returncode != 0
            print(f"{entry}: for {', '.join(devices)}")
    return int(status)


if __name__ == "__main__":
    if sys.argv[1] == "run":
        sys.exit(run(sys.argv[2]))
    if sys.argv[1] == "self-test":
        sys.exit(self_test(sys.argv[2]))
    sys.exit(assemble(*sys.argv[2:4]))
