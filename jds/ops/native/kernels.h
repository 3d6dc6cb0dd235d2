// The instruction sets, and the choice among them at run time.
#ifndef JDS_KERNELS_H_
#define JDS_KERNELS_H_

#include <string>
#include <vector>

#include "problem.h"

namespace jds {

// What this machine can run, the best first; the last runs everywhere.
const std::vector<const Kernels*>& available_kernels();

// What the operations run; the best, unless another was asked for.
const Kernels& kernels();

// Asks for one by its name; false, and no change, if this machine cannot run it.
bool use_kernels(const std::string& name);

}  // namespace jds

#endif  // JDS_KERNELS_H_
