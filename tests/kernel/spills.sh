#!/bin/sh
# spills.sh OBJECT [OBJDUMP]: fails if a GEMM or convolution micro-kernel in OBJECT keeps a vector on the stack (which costs a factor of 3).
${2:-objdump} -d --no-show-raw-insn "$1" | awk '
  /^[0-9a-f]+ <.*>:/ { name = $2; kernels += name ~ /gemm_|conv_|window_/ }
  name ~ /gemm_|conv_|window_/ && /[yz]mm/ && /\(%r[sb]p/ { print "spill in " name " " $0; bad = 1 }
  END { if (!kernels) print "no micro-kernels in the object"; exit bad || !kernels }'
