"""Writes text files, one after the other and without their #include lines, as a C string: embed.py OUT_text.h NAME FILE..."""

import sys


def quote(line: str) -> str:
    escaped = line.replace("\\", "\\\\").replace('"', '\\"').replace("?", "\\?")
    return f'  "{escaped}\\n"\n'


def main() -> None:
    out, name, *files = sys.argv[1:]
    if not out.endswith("_text.h") or not name.isidentifier():
        sys.exit("usage: embed.py OUT_text.h NAME FILE...")
    with open(out, "w", encoding="utf-8") as f:
        f.write(f"/* Made by embed.py. */\nstatic const char {name}[] =\n")
        for path in files:
            with open(path, encoding="utf-8") as src:
                f.writelines(quote(line.rstrip("\n")) for line in src if not line.startswith("#include"))
        f.write(";\n")


if __name__ == "__main__":
    main()
