#!/bin/sh
# spills.sh OBJECT [OBJDUMP]: fails if a GEMM or convolution micro-kernel in OBJECT keeps a vector on the stack (which costs a factor of 3).
# Those that make products of bytes out of others need more registers than there are, and are left out.
${2:-objdump} -d --no-show-raw-insn "$1" | awk -v made="$(case "$1" in *vnni*) ;; *) echo products_int8 ;; esac)" '
  /file format/ { left_out = made != "" && index($1, made) }
  /^[0-9a-f]+ <.*>:/ { name = $2; kernels += name ~ /gemm_|conv_|window_|slide_/ }
  name ~ /gemm_|conv_|window_|slide_/ && !left_out && /[yz]mm/ && /\(%r[sb]p/ { print "spill in " name " " $0; bad = 1 }
  END { if (!kernels) print "no micro-kernels in the object"; exit bad || !kernels }'
