#!/usr/bin/env bash
# What Bochs 3.0 needs for our programs, as edits of its source in the folder $1. Rule: each edit must hit; a Bochs
# that has the thing itself makes this stop, and then the edit goes.
# - VPINSRB in its EVEX form scaled an 8-bit displacement by two.
# - VCVTNE2PS2BF16 took the upper half of its results from past the end of a register.
# - XSAVE of tiles exchanged rows and bytes of a configuration, kept 8 of 16 rows and told "in use" the wrong way
#   round: a switch of threads between two tile instructions lost them.
# - XFD (extended feature disable), without which Linux does not offer the AMX tiles: #NM at the first use of tiles by
#   a task that has not got them yet.
set -euo pipefail
cd "$1/cpu"
mend() { # FILE SED-SCRIPT
  cp "$1" "$1.before"
  sed -i "$2" "$1"
  ! cmp -s "$1" "$1.before" || { echo "mend_bochs: $1: nothing to mend with: $2" >&2; exit 1; }
}
mend decoder/ia_opcodes_evex.def '/BX_IA_EVEX_VPINSRB_VdqEbIb/s/OP_Ew/OP_Eb/'
mend cpu.h 's/^  Bit64u ia32_xss;/&\n  Bit64u ia32_xfd, ia32_xfd_err;/'
mend init.cc 's/^  BX_CPU_THIS_PTR msr.ia32_xss = 0;/&\n  BX_CPU_THIS_PTR msr.ia32_xfd = BX_CPU_THIS_PTR msr.ia32_xfd_err = 0;/'
mend cpuid.cc 's/^    \/\/ EBX\[31:00\] - The size (in bytes) of the XSAVE area containing all states enabled by (XCRO | IA32_XSS)/    if (is_cpu_extension_supported(BX_ISA_AMX))\n      leaf->eax |= (1<<4);\n&/'
mend cpuid.cc 's/^      leaf->ecx = (cpu->ia32_xss_suppmask & (1 << subfunction)) != 0;/&\n      if (subfunction == xcr0_t::BX_XCR0_XTILEDATA_BIT) leaf->ecx |= (1<<2);/'
mend proc_ctrl.cc 's/^      (~BX_CPU_THIS_PTR xcr0.val32 & (BX_XCR0_XTILECFG_MASK | BX_XCR0_XTILEDATA_MASK)) != 0)/      (BX_CPU_THIS_PTR msr.ia32_xfd \& BX_XCR0_XTILEDATA_MASK) != 0 ||\n&/'
mend proc_ctrl.cc '/::BxNoAMX(/,/BX_ASSERT/s/^  BX_ASSERT(0);/  if (BX_CPU_THIS_PTR msr.ia32_xfd \& BX_XCR0_XTILEDATA_MASK) {\n    BX_CPU_THIS_PTR msr.ia32_xfd_err |= BX_XCR0_XTILEDATA_MASK;\n    exception(BX_NM_EXCEPTION, 0);\n  }\n&/'
mend msr.cc '/::rdmsr(/,/::handle_unknown_wrmsr\|::wrmsr(/s/^    case BX_MSR_XSS:/    case BX_MSR_IA32_XFD:\n      val64 = BX_CPU_THIS_PTR msr.ia32_xfd;\n      break;\n    case BX_MSR_IA32_XFD_ERROR:\n      val64 = BX_CPU_THIS_PTR msr.ia32_xfd_err;\n      break;\n&/'
mend msr.cc '/::wrmsr(/,$s/^    case BX_MSR_XSS:/    case BX_MSR_IA32_XFD:\n      BX_CPU_THIS_PTR msr.ia32_xfd = val_64;\n      handleAvxModeChange();\n      break;\n    case BX_MSR_IA32_XFD_ERROR:\n      BX_CPU_THIS_PTR msr.ia32_xfd_err = val_64;\n      break;\n&/'
mend avx/avx512_bf16.cc '/::VCVTNE2PS2BF16_MASK/,/^}/s/(op1.vmm32u(n))/(op1.vmm32u(n - DWORD_ELEMENTS(len)))/'
mend xsave.cc '/::xsave_tilecfg_state(/,/^}/{s/tilecfg\[n\].rows/tilecfg[n].HELD/;s/tilecfg\[n\].bytes_per_row/tilecfg[n].rows/;s/tilecfg\[n\].HELD/tilecfg[n].bytes_per_row/}'
mend xsave.cc 's/row < BX_TILE_REGISTERS/row < BX_TILE_MAX_ROWS/'
mend xsave.cc 's/return (BX_CPU_THIS_PTR amx->tile_use_tracker == 0);.*/return BX_CPU_THIS_PTR amx->tile_use_tracker != 0;/'
