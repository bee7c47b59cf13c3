// How a grid of tokens lies in memory for the kernels of ssta.cpp: vectors, planes with margins, walks over neighbours.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define INLINE inline __attribute__((always_inline))

struct View {  // a tensor [batch, head, token, dimension] of any strides
    void* data;
    int64_t stride[4];
};

struct Problem {
    int64_t batch, heads, frames, rows, cols, dims, boxes, threads;
    const int32_t* box;   // [boxes][3]: step in time, reach in rows, reach in cols
    const int32_t* kept;  // [tokens] neighbours that routing keeps, or null
    double scale;
};

namespace {

constexpr int ALIGN = 64;

template <class S> struct Simd;
template <> struct Simd<float> {
    typedef float Vec __attribute__((vector_size(BYTES)));
    typedef int32_t Int __attribute__((vector_size(BYTES)));
    typedef int32_t Integer;
};
template <> struct Simd<double> {
    typedef double Vec __attribute__((vector_size(BYTES)));
    typedef int64_t Int __attribute__((vector_size(BYTES)));
    typedef int64_t Integer;
};
template <class S> using Vec = typename Simd<S>::Vec;
template <class S> using Int = typename Simd<S>::Int;
template <class S> constexpr int LANES = BYTES / sizeof(S);
template <class S> constexpr S FAR = S(1e30);  // stands for infinity: differences of it are no NaN

template <class S> INLINE Vec<S> load(const S* from) {
    Vec<S> value;
    std::memcpy(&value, from, BYTES);
    return value;
}

template <class S> INLINE Vec<S> spread(S value) { return value - Vec<S>{}; }

// exp(x) for x <= 0 to a unit or two in the last place; below -80 it stays at 2e-35, as denormal products are slow.
INLINE Vec<float> exponential(Vec<float> x) {
    const Vec<float> floor = spread<float>(-80.0f), magic = spread<float>(12582912.0f);
    x = x < floor ? floor : x;  // this way round, here and below, what is no number stays so
    const Vec<float> shifted = x * 1.44269504088896341f + magic;  // the integer lies in the low bits
    const Vec<float> whole = shifted - magic;
    const Vec<float> r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    Vec<float> p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    return (Vec<float>)((Int<float>)p + ((Int<float>)shifted << 23));
}

INLINE Vec<double> exponential(Vec<double> x) {
    for (int lane = 0; lane < LANES<double>; ++lane) x[lane] = std::exp(x[lane]);
    return x;
}

template <class S> struct Buffer {  // zeros, aligned
    std::unique_ptr<char[]> raw;
    S* data;
    explicit Buffer(int64_t size) : raw(new char[size * sizeof(S) + ALIGN]()) {
        data = reinterpret_cast<S*>((reinterpret_cast<uintptr_t>(raw.get()) + ALIGN - 1) / ALIGN * ALIGN);
    }
};

template <class S> struct Layout {
    int64_t group, units, halo, width, padded, stride, lines, neighbours;

    explicit Layout(const Problem& p) {
        group = 1;  // heads side by side, until their rows fill a vector
        while (p.cols * group < LANES<S> && group < p.heads) {
            do ++group;
            while (p.heads % group);
        }
        int64_t reach = 0;
        neighbours = 0;
        for (int64_t n = 0; n < p.boxes; ++n) {
            reach = p.box[3 * n + 2] > reach ? p.box[3 * n + 2] : reach;
            neighbours += (2 * p.box[3 * n + 1] + 1) * (2 * p.box[3 * n + 2] + 1);
        }
        reach = reach < p.cols ? reach : p.cols;
        units = p.batch * (p.heads / group);
        halo = reach * group;
        width = p.cols * group;
        padded = (width + LANES<S> - 1) / LANES<S> * LANES<S>;
        stride = padded + 2 * halo;
        lines = p.frames * p.rows;
    }
};

template <class S> struct Line {  // one row of one frame of one unit
    int64_t unit, frame, row, token, batch, head;
    Line(const Problem& p, const Layout<S>& l, int64_t number) {
        unit = number / l.lines;
        frame = number % l.lines / p.rows;
        row = number % p.rows;
        token = (frame * p.rows + row) * p.cols;
        batch = unit / (p.heads / l.group);
        head = unit % (p.heads / l.group) * l.group;
    }
};

// Calls visit(line of its unit, shift in lanes) for every neighbour; sense -1 finds those whose neighbour this line is.
template <class S, class Visit>
INLINE void walk(const Problem& p, const Layout<S>& l, const Line<S>& line, int sense, Visit visit) {
    for (int64_t n = 0; n < p.boxes; ++n) {
        const int64_t frame = line.frame + sense * p.box[3 * n];
        if (frame < 0 || frame >= p.frames) continue;
        const int64_t down = p.box[3 * n + 1], reach = p.box[3 * n + 2];
        const int64_t across = (reach < p.cols ? reach : p.cols) * l.group;
        const int64_t first = line.row > down ? line.row - down : 0;
        const int64_t last = line.row + down < p.rows - 1 ? line.row + down : p.rows - 1;
        for (int64_t row = first; row <= last; ++row)
            for (int64_t shift = -across; shift <= across; shift += l.group) visit(frame * p.rows + row, shift);
    }
}

// Calls put(lane, head, token) for the lanes of a vector that hold a token.
template <class S, class Put>
INLINE void each_lane(const Layout<S>& l, const Line<S>& line, int64_t x, Put put) {
    for (int64_t lane = 0; lane < LANES<S> && x + lane < l.width; ++lane)
        put(lane, line.head + (x + lane) % l.group, line.token + (x + lane) / l.group);
}

template <class S> S& at(const View& v, int64_t batch, int64_t head, int64_t token, int64_t dim) {
    return static_cast<S*>(v.data)[batch * v.stride[0] + head * v.stride[1] + token * v.stride[2] + dim * v.stride[3]];
}

template <class S>
void read(const Layout<S>& l, const Line<S>& line, int64_t x, const View& from, int64_t dims, S scale, Vec<S>* into) {
    for (int64_t c = 0; c < dims; ++c) into[c] = Vec<S>{};
    each_lane(l, line, x, [&](int64_t lane, int64_t head, int64_t token) {
        for (int64_t c = 0; c < dims; ++c) into[c][lane] = at<S>(from, line.batch, head, token, c) * scale;
    });
}

template <class S>
void write(const Layout<S>& l, const Line<S>& line, int64_t x, const Vec<S>* from, int64_t dims, const View& into) {
    each_lane(l, line, x, [&](int64_t lane, int64_t head, int64_t token) {
        for (int64_t c = 0; c < dims; ++c) at<S>(into, line.batch, head, token, c) = from[c][lane];
    });
}

// One number per token, [batch, head, token] without gaps.
template <class S>
Vec<S> read_one(const Problem& p, const Layout<S>& l, const Line<S>& line, int64_t x, const S* from, S elsewhere) {
    Vec<S> value = spread<S>(elsewhere);
    const int64_t tokens = l.lines * p.cols, base = line.batch * p.heads;
    each_lane(l, line, x,
              [&](int64_t lane, int64_t head, int64_t token) { value[lane] = from[(base + head) * tokens + token]; });
    return value;
}

template <class S>
void write_one(const Problem& p, const Layout<S>& l, const Line<S>& line, int64_t x, Vec<S> value, S* into) {
    const int64_t tokens = l.lines * p.cols, base = line.batch * p.heads;
    each_lane(l, line, x,
              [&](int64_t lane, int64_t head, int64_t token) { into[(base + head) * tokens + token] = value[lane]; });
}

// One line of a tensor into its planes, and of one number per token into its plane.
template <class S>
void pack(const Problem& p, const Layout<S>& l, int64_t number, const View& from, S scale, const Buffer<S>& packed) {
    const Line<S> line(p, l, number);
    S* into = packed.data + number * p.dims * l.stride + l.halo;
    for (int64_t x = 0; x < l.width; ++x)
        for (int64_t c = 0; c < p.dims; ++c)
            into[c * l.stride + x] =
                at<S>(from, line.batch, line.head + x % l.group, line.token + x / l.group, c) * scale;
}

template <class S>
void pack_one(const Problem& p, const Layout<S>& l, int64_t number, const S* from, S elsewhere, const Buffer<S>& packed) {
    const Line<S> line(p, l, number);
    const int64_t tokens = l.lines * p.cols;
    S* into = packed.data + number * l.stride;
    for (int64_t x = 0; x < l.stride; ++x) into[x] = elsewhere;
    for (int64_t x = 0; x < l.width; ++x)
        into[l.halo + x] = from[(line.batch * p.heads + line.head + x % l.group) * tokens + line.token + x / l.group];
}

template <class S> Buffer<S> margin(const Layout<S>& l) {  // 0 inside a row, minus infinity beside it
    Buffer<S> bias(l.stride);
    for (int64_t x = 0; x < l.stride; ++x) bias.data[x] = x >= l.halo && x < l.halo + l.width ? S(0) : -FAR<S>;
    return bias;
}

}  // namespace
