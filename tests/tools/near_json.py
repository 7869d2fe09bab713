"""near_json.py BOUND ONE OTHER: two JSON files say the same, their numbers to within BOUND, but for times and paths.

A distance is absolute up to 1 and relative above. Prints the largest distance; exits with 1 and the place of the first
difference where there is one.
"""
import json
import sys

IGNORED = {"seconds"}
largest = 0.0


def compare(bound, one, other, where):
    global largest
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            sys.exit(f"{where}: expected the keys {sorted(one)}, found {sorted(other)}")
        for key in one.keys() - IGNORED:
            compare(bound, one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            sys.exit(f"{where}: expected {len(one)} entries, found {len(other)}")
        for i, (a, b) in enumerate(zip(one, other)):
            compare(bound, a, b, f"{where}/{i}")
    elif isinstance(one, float) and isinstance(other, float):
        distance = abs(one - other) / max(1.0, abs(one))
        largest = max(largest, distance)
        if not distance <= bound:
            sys.exit(f"{where}: expected {one} to within {bound}, found {other}")
    elif one != other:
        sys.exit(f"{where}: expected {one}, found {other}")


with open(sys.argv[2]) as a, open(sys.argv[3]) as b:
    compare(float(sys.argv[1]), json.load(a), json.load(b), "")
print(f"{largest:.1e}")
