#include "kernels/kernels.h"

#include <string.h>

#include <atomic>

namespace jds {

extern const Kernels kPortable;
#if defined(__x86_64__)
extern const Kernels kAvx2, kAvx512;
#endif

namespace {

std::vector<const Kernels*> detect() {
  std::vector<const Kernels*> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    found.push_back(&kAvx512);
  }
  if (avx2) found.push_back(&kAvx2);
#endif
  found.push_back(&kPortable);
  return found;
}

std::atomic<const Kernels*>& chosen() {
  static std::atomic<const Kernels*> kernels{available_kernels().front()};
  return kernels;
}

}  // namespace

const std::vector<const Kernels*>& available_kernels() {
  static const std::vector<const Kernels*> found = detect();
  return found;
}

const std::string& kernel_names() {
  static const std::string names = [] {
    std::string names;
    for (const Kernels* kernels : available_kernels()) names += std::string(names.empty() ? "" : " ") + kernels->name;
    return names;
  }();
  return names;
}

const Kernels& kernels() { return *chosen().load(); }

bool use_kernels(const char* name) {
  for (const Kernels* kernels : available_kernels()) {
    if (strcmp(name, kernels->name) != 0) continue;
    chosen().store(kernels);
    return true;
  }
  return false;
}

}  // namespace jds
