// Work shared among the threads of a pool that belongs to the caller.
#ifndef JDS_RUNTIME_THREADS_H_
#define JDS_RUNTIME_THREADS_H_

#include <cstdint>
#include <functional>
#include <vector>

namespace jds {

// A pool of threads: XLA's, or a test's.
class Threads {
 public:
  virtual ~Threads() = default;
  virtual int64_t count() const = 0;
  virtual void schedule(std::function<void()> work) = 0;
};

// `task(0)` ... `task(tasks - 1)`, in any order.
struct Phase {
  int64_t tasks;
  std::function<void(int64_t)> task;
};

// Calls every task once, on this thread and on the free threads of the pool, and returns when all have returned. A
// phase begins when the one before it has ended. It never waits for a thread of the pool to start: this thread would do
// all the work itself. After a task has thrown, no further task begins; the exception is rethrown here when those that
// had begun have ended.
void parallel_for(Threads& threads, std::vector<Phase> phases);

// Less work than this many products is not worth waking a thread.
constexpr int64_t kProductsPerTask = 1 << 17;
// More than one task per thread, so that a thread that is interrupted does not keep the others waiting.
constexpr int64_t kTasksPerThread = 4;

// Number of tasks for `products` multiply-adds in `units` indivisible units.
int64_t number_of_tasks(int64_t products, int64_t units, int64_t threads);

// A buffer of this thread; the next call invalidates it.
float* thread_scratch(int64_t size);

}  // namespace jds

#endif  // JDS_RUNTIME_THREADS_H_
