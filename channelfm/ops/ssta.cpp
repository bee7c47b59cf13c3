// Sparse spatio-temporal attention on a grid of frames x rows x cols tokens, forward and backward, for any CPU.
//
// Keys and values lie as planes [unit][frame][row][dimension][lane], each row with a margin on both sides. A vector of
// neighbouring lanes is a vector of queries, and a neighbour at (dt, dh, dw) is the same vector of another row, moved by
// dw: loads are contiguous and no index table is needed. A unit is one head, or several heads side by side in the lanes
// where one head's row would not fill a vector. The backward pass walks twice, once by query and once by key: nothing
// is scattered, and the result does not depend on the number of threads.
//
// Plain C interface, so that neither PyTorch's headers nor its ABI matter. Sizes are in elements.

#include "ssta_grid.h"

namespace {

// Largest value that at least `kept` of the logits reach, or one between it and the next: bisection, all lanes at once.
template <class S> Vec<S> cutoff(const Vec<S>* logits, int64_t count, Vec<S> top, Int<S> kept) {
    Vec<S> low = top, high = top;
    for (int64_t n = 0; n < count; ++n) {
        const Vec<S> value = logits[n] > spread<S>(-FAR<S> / 2) ? logits[n] : top;
        low = value < low ? value : low;
    }
    const auto reaching = [&](Vec<S> level) {
        Int<S> number{};
        for (int64_t n = 0; n < count; ++n) number -= (Int<S>)(logits[n] >= level);
        return number;
    };
    Int<S> done = (Int<S>)(reaching(high) >= kept);
    low = done ? high : low;
    done |= (Int<S>)(reaching(low) <= kept);
    for (int round = 0; round < 256; ++round) {
        const Vec<S> middle = low + (high - low) * S(0.5);
        done |= (Int<S>)(middle <= low) | (Int<S>)(middle >= high);
        bool all = true;
        for (int lane = 0; lane < LANES<S>; ++lane) all &= done[lane] != 0;
        if (all) break;
        const Int<S> number = reaching(middle);
        low = (~done & (Int<S>)(number >= kept)) ? middle : low;
        high = (~done & (Int<S>)(number < kept)) ? middle : high;
        done |= (Int<S>)(number == kept);
    }
    return low;
}

// D is the head width if it is known when compiling, else 0.
#define DIMS const int64_t dims = D ? D : p.dims
#define LOCAL(name, slot) \
    Vec<S> name##_fixed[D ? D : 1]; \
    Vec<S>* const name = D ? name##_fixed : scratch + (slot) * dims

template <class S, int D>
void forward_line(const Problem& p, const Layout<S>& l, int64_t number, const S* keys, const S* values, const S* bias,
                  const View& query, const View& out, S* lse, S* threshold, Vec<S>* scratch) {
    DIMS;
    const Line<S> line(p, l, number);
    const int64_t size = dims * l.stride;
    for (int64_t x = 0; x < l.padded; x += LANES<S>) {
        LOCAL(q, 0);
        LOCAL(sum, 1);
        Vec<S>* const logits = scratch + 2 * dims;
        const int64_t start = line.unit * l.lines * size + l.halo + x;
        const S *key = keys + start, *value = values + start, *inside = bias + l.halo + x;
        read(l, line, x, query, dims, S(p.scale), q);
        Vec<S> top = spread<S>(-FAR<S>);
        int64_t count = 0;
        walk(p, l, line, 1, [&](int64_t other, int64_t shift) {
            const S* k = key + other * size + shift;
            Vec<S> logit = load(inside + shift);
            for (int64_t c = 0; c < dims; ++c) logit += q[c] * load(k + c * l.stride);
            logits[count++] = logit;
            top = logit > top ? logit : top;
        });
        if (p.kept) {
            Int<S> kept{};
            each_lane(l, line, x, [&](int64_t lane, int64_t, int64_t token) { kept[lane] = p.kept[token]; });
            const Vec<S> least = cutoff<S>(logits, count, top, kept);
            for (int64_t n = 0; n < count; ++n) logits[n] = logits[n] < least ? spread<S>(-FAR<S>) : logits[n];
            write_one(p, l, line, x, least, threshold);
        }
        Vec<S> total{};
        for (int64_t n = 0; n < count; ++n) {
            logits[n] = exponential(logits[n] - top);
            total += logits[n];
        }
        for (int64_t c = 0; c < dims; ++c) sum[c] = Vec<S>{};
        const Vec<S>* weight = logits;
        walk(p, l, line, 1, [&](int64_t other, int64_t shift) {
            const S* v = value + other * size + shift;
            const Vec<S> w = *weight++;
            for (int64_t c = 0; c < dims; ++c) sum[c] += w * load(v + c * l.stride);
        });
        for (int64_t c = 0; c < dims; ++c) sum[c] /= total;
        write(l, line, x, sum, dims, out);
        for (int lane = 0; lane < LANES<S>; ++lane) total[lane] = std::log(total[lane]);
        write_one(p, l, line, x, top + total, lse);
    }
}

template <class S, int D>
void backward_query_line(const Problem& p, const Layout<S>& l, int64_t number, const S* keys, const S* values,
                         const S* bias, const View& query, const View& upper, const S* lse, const S* delta,
                         const S* threshold, const View& into, Vec<S>* scratch) {
    DIMS;
    const Line<S> line(p, l, number);
    const int64_t size = dims * l.stride;
    for (int64_t x = 0; x < l.padded; x += LANES<S>) {
        LOCAL(q, 0);
        LOCAL(g, 1);
        LOCAL(sum, 2);
        const int64_t start = line.unit * l.lines * size + l.halo + x;
        const S *key = keys + start, *value = values + start, *inside = bias + l.halo + x;
        read(l, line, x, query, dims, S(p.scale), q);
        read(l, line, x, upper, dims, S(1), g);
        const Vec<S> level = read_one(p, l, line, x, lse, FAR<S>), mean = read_one(p, l, line, x, delta, S(0));
        const Vec<S> least = p.kept ? read_one(p, l, line, x, threshold, FAR<S>) : spread<S>(-FAR<S> / 2);
        for (int64_t c = 0; c < dims; ++c) sum[c] = Vec<S>{};
        walk(p, l, line, 1, [&](int64_t other, int64_t shift) {
            const S *k = key + other * size + shift, *v = value + other * size + shift;
            Vec<S> logit = load(inside + shift), slope = -mean;
            for (int64_t c = 0; c < dims; ++c) logit += q[c] * load(k + c * l.stride);
            for (int64_t c = 0; c < dims; ++c) slope += g[c] * load(v + c * l.stride);
            const Vec<S> weight = exponential(logit - level);
            slope *= logit < least ? Vec<S>{} : weight;
            for (int64_t c = 0; c < dims; ++c) sum[c] += slope * load(k + c * l.stride);
        });
        for (int64_t c = 0; c < dims; ++c) sum[c] *= S(p.scale);
        write(l, line, x, sum, dims, into);
    }
}

template <class S, int D>
void backward_key_line(const Problem& p, const Layout<S>& l, int64_t number, const S* queries, const S* uppers,
                       const S* lse, const S* delta, const S* threshold, const View& key, const View& value,
                       const View& into_key, const View& into_value, Vec<S>* scratch) {
    DIMS;
    const Line<S> line(p, l, number);
    const int64_t size = dims * l.stride;
    for (int64_t x = 0; x < l.padded; x += LANES<S>) {
        LOCAL(k, 0);
        LOCAL(v, 1);
        LOCAL(sum_k, 2);
        LOCAL(sum_v, 3);
        const int64_t start = line.unit * l.lines * l.stride, first = l.halo + x;
        read(l, line, x, key, dims, S(1), k);
        read(l, line, x, value, dims, S(1), v);
        for (int64_t c = 0; c < dims; ++c) sum_k[c] = sum_v[c] = Vec<S>{};
        walk(p, l, line, -1, [&](int64_t other, int64_t shift) {
            const int64_t one = start + other * l.stride + first + shift;
            const S *q = queries + start * dims + other * size + first + shift;
            const S *g = uppers + start * dims + other * size + first + shift;
            Vec<S> logit{}, slope = -load(delta + one);
            for (int64_t c = 0; c < dims; ++c) logit += k[c] * load(q + c * l.stride);
            for (int64_t c = 0; c < dims; ++c) slope += v[c] * load(g + c * l.stride);
            Vec<S> weight = exponential(logit - load(lse + one));
            if (p.kept) weight = logit < load(threshold + one) ? Vec<S>{} : weight;
            slope *= weight;
            for (int64_t c = 0; c < dims; ++c) sum_k[c] += slope * load(q + c * l.stride);
            for (int64_t c = 0; c < dims; ++c) sum_v[c] += weight * load(g + c * l.stride);
        });
        write(l, line, x, sum_k, dims, into_key);
        write(l, line, x, sum_v, dims, into_value);
    }
}

// Runs prepare(number) for all lines, then task(number, scratch of its thread) for `tasks` times as many numbers. One
// parallel region: on a busy machine every barrier costs a time slice.
template <class S, class Prepare, class Task>
void run(const Problem& p, const Layout<S>& l, int64_t tasks, Prepare prepare, Task task) {
    const int64_t size = 4 * p.dims + l.neighbours, lines = l.units * l.lines;
    const Buffer<S> scratch(size * LANES<S> * p.threads);
#pragma omp parallel num_threads(p.threads)
    {
        int64_t thread = 0;
#ifdef _OPENMP
        thread = omp_get_thread_num();
#endif
        Vec<S>* own = reinterpret_cast<Vec<S>*>(scratch.data) + thread * size;
#pragma omp for schedule(dynamic, 16)
        for (int64_t number = 0; number < lines; ++number) prepare(number);
#pragma omp for schedule(dynamic, 8)
        for (int64_t number = 0; number < tasks * lines; ++number) task(number, own);
    }
}

template <class S, int D>
void forward(const Problem& p, const View& q, const View& k, const View& v, const View& out, S* lse, S* threshold) {
    const Layout<S> l(p);
    const int64_t size = l.units * l.lines * l.stride;
    const Buffer<S> keys(size * p.dims), values(size * p.dims), bias = margin<S>(l);
    run<S>(
        p, l, 1,
        [&](int64_t number) {
            pack<S>(p, l, number, k, 1, keys);
            pack<S>(p, l, number, v, 1, values);
        },
        [&](int64_t number, Vec<S>* scratch) {
            forward_line<S, D>(p, l, number, keys.data, values.data, bias.data, q, out, lse, threshold, scratch);
        });
}

template <class S, int D>
void backward(const Problem& p, const View& q, const View& k, const View& v, const View& upper, const S* lse,
              const S* delta, const S* threshold, const View& into_q, const View& into_k, const View& into_v) {
    const Layout<S> l(p);
    const int64_t lines = l.units * l.lines, size = lines * l.stride;
    const Buffer<S> keys(size * p.dims), values(size * p.dims), queries(size * p.dims), uppers(size * p.dims);
    const Buffer<S> levels(size), means(size), least(p.kept ? size : 0), bias = margin<S>(l);
    run<S>(
        p, l, 2,
        [&](int64_t number) {
            pack<S>(p, l, number, k, 1, keys);
            pack<S>(p, l, number, v, 1, values);
            pack<S>(p, l, number, q, S(p.scale), queries);
            pack<S>(p, l, number, upper, 1, uppers);
            pack_one<S>(p, l, number, lse, FAR<S>, levels);
            pack_one<S>(p, l, number, delta, 0, means);
            if (p.kept) pack_one<S>(p, l, number, threshold, FAR<S>, least);
        },
        [&](int64_t number, Vec<S>* scratch) {
            if (number < lines)
                backward_query_line<S, D>(p, l, number, keys.data, values.data, bias.data, q, upper, lse, delta,
                                          threshold, into_q, scratch);
            else
                backward_key_line<S, D>(p, l, number - lines, queries.data, uppers.data, levels.data, means.data,
                                        least.data, k, v, into_k, into_v, scratch);
        });
}

template <class Work> int guarded(Work work) {  // no exception may leave for C
    try {
        work();
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

}  // namespace

// float64 serves tests of gradients: code for any width will do.
#define KNOWN(S, width) (sizeof(S) == sizeof(float) ? width : 0)
#define FOR_WIDTH(S, function, ...)                                     \
    return guarded([&] {                                                \
        switch (p->dims) {                                              \
            case 4: return function<S, KNOWN(S, 4)>(*p, __VA_ARGS__);   \
            case 8: return function<S, KNOWN(S, 8)>(*p, __VA_ARGS__);   \
            case 16: return function<S, KNOWN(S, 16)>(*p, __VA_ARGS__); \
            default: return function<S, 0>(*p, __VA_ARGS__);            \
        }                                                               \
    })

#define INTERFACE(S, suffix)                                                                                       \
    extern "C" int ssta_forward_##suffix(const Problem* p, const View* q, const View* k, const View* v,            \
                                         const View* out, S* lse, S* threshold) {                                  \
        FOR_WIDTH(S, forward, *q, *k, *v, *out, lse, threshold);                                                   \
    }                                                                                                              \
    extern "C" int ssta_backward_##suffix(const Problem* p, const View* q, const View* k, const View* v,           \
                                          const View* upper, const S* lse, const S* delta, const S* threshold,     \
                                          const View* into_q, const View* into_k, const View* into_v) {            \
        FOR_WIDTH(S, backward, *q, *k, *v, *upper, lse, delta, threshold, *into_q, *into_k, *into_v);              \
    }

INTERFACE(float, f32)
INTERFACE(double, f64)
