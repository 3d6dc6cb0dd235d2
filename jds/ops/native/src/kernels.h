// The instruction sets, and the choice among them at run time.
#ifndef JDS_KERNELS_H_
#define JDS_KERNELS_H_

#include <stddef.h>

#include "problem.h"

namespace jds {

struct KernelList {
  const Kernels* list[3];
  size_t count;
  char names[64];  // with spaces between

  const Kernels* const* begin() const { return list; }
  const Kernels* const* end() const { return list + count; }
};

// What this machine can run, the best first; the last runs everywhere.
const KernelList& available_kernels();

// What the operations run; the best, unless another was asked for.
const Kernels& kernels();

// Asks for one by its name; false, and no change, if this machine cannot run it.
bool use_kernels(const char* name);

}  // namespace jds

#endif  // JDS_KERNELS_H_
