// Allocations that fail at random.
#ifndef JDS_REFUSAL_H_
#define JDS_REFUSAL_H_

#include <cstdint>

// While one lives, each request for memory, of any thread, fails with this probability.
class Refusal {
 public:
  Refusal(double probability, uint64_t seed);
  ~Refusal();
  Refusal(const Refusal&) = delete;
};

#endif  // JDS_REFUSAL_H_
