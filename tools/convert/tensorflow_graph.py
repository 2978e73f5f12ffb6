"""Reads a TensorFlow frozen graph (a GraphDef file) into plain Python objects, without TensorFlow.

It decodes the protobuf wire format by hand, and of the schema only the fields that a frozen inference graph uses. It
knows nothing of operators: tools/convert/ssd_mobilenet.py gives them their meaning.
"""

from dataclasses import dataclass, field

import numpy as np

# DataType numbers of TensorFlow, those that the readers below can give a value for.
DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 5: np.int16, 6: np.int8, 9: np.int64, 10: np.bool_,
          19: np.float16}


class GraphDefError(Exception):
    """The file is not a GraphDef, or uses a part of the format that this reader does not know."""


@dataclass
class Node:
    name: str
    op: str
    inputs: list = field(default_factory=list)
    attributes: dict = field(default_factory=dict)


def fields(data):
    """Yields (field number, value) of one protobuf message: integers for varints, memoryviews for all else."""
    position = 0
    end = len(data)
    while position < end:
        key, position = varint(data, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, position = varint(data, position)
        else:
            if wire_type == 2:
                length, position = varint(data, position)
            elif wire_type in (1, 5):
                length = 8 if wire_type == 1 else 4
            else:
                raise GraphDefError(f"wire type {wire_type} at byte {position}: this is not a protobuf message")
            if position + length > end:
                raise GraphDefError(f"a field of {length} bytes at byte {position} runs past the end")
            value = data[position:position + length]
            position += length
        yield number, value


def varint(data, position):
    result = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise GraphDefError(f"an integer at byte {position} does not end")
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return result, position


def signed(value):
    """Protobuf stores negative int64 as 2^64 + value."""
    return value - (1 << 64) if value >= 1 << 63 else value


def packed_integers(value):
    if isinstance(value, int):
        return [signed(value)]
    result = []
    position = 0
    while position < len(value):
        item, position = varint(value, position)
        result.append(signed(item))
    return result


def parse_shape(data):
    return [next((signed(v) for n, v in fields(dim) if n == 1), 0) for number, dim in fields(data) if number == 2]


def parse_tensor(data):
    dtype, shape, content, values = None, [], None, []
    for number, value in fields(data):
        if number == 1:
            if value not in DTYPES:
                return None  # strings and the like: nothing that inference needs
            dtype = np.dtype(DTYPES[value])
        elif number == 2:
            shape = parse_shape(value)
        elif number == 4:
            content = value
        elif number == 5:
            values += np.frombuffer(value, np.float32).tolist()
        elif number == 6:
            values += np.frombuffer(value, np.float64).tolist()
        elif number in (7, 10, 11):
            values += packed_integers(value)
    if content is not None and len(content):
        return np.frombuffer(content, dtype).reshape(shape)
    size = int(np.prod(shape))
    # A list shorter than the tensor stands for a tensor whose rest repeats the last value.
    values += [values[-1] if values else 0] * (size - len(values))
    return np.array(values, dtype).reshape(shape)


def parse_attribute(data):
    for number, value in fields(data):
        if number == 2:
            return bytes(value)
        if number == 3:
            return signed(value)
        if number == 4:
            return float(np.frombuffer(value, np.float32)[0])
        if number == 5:
            return bool(value)
        if number == 6:
            return value
        if number == 7:
            return parse_shape(value)
        if number == 8:
            return parse_tensor(value)
        if number == 1:
            return parse_list(value)
    return None


def parse_list(data):
    result = []
    for number, value in fields(data):
        if number == 2:
            result.append(bytes(value))
        elif number in (3, 6):
            result += packed_integers(value)
        elif number == 4:
            result += np.frombuffer(value, np.float32).tolist()
    return result


def parse_node(data):
    node = Node("", "")
    for number, value in fields(data):
        if number == 1:
            node.name = bytes(value).decode()
        elif number == 2:
            node.op = bytes(value).decode()
        elif number == 3:
            node.inputs.append(bytes(value).decode())
        elif number == 5:
            entry = dict(fields(value))
            node.attributes[bytes(entry[1]).decode()] = parse_attribute(entry[2])
    return node


def read_graph(path):
    """The nodes of a GraphDef file by name, in file order. Throws GraphDefError."""
    data = memoryview(path.read_bytes())
    nodes = [parse_node(value) for number, value in fields(data) if number == 1]
    if not nodes or not all(node.name and node.op for node in nodes):
        raise GraphDefError(f"{path}: not a TensorFlow graph")
    return {node.name: node for node in nodes}
