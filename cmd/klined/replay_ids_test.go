package main

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestIDSet: in whatever order ids come, each is new once, and what is missing is what lies between and did not come.
func TestIDSet(t *testing.T) {
	seed := seed(t)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		first, span := []int64{0, 511, 8_153_634_393, 1e18 - 5000}[r.IntN(4)], 1+r.Int64N(1500)
		came, set := make(map[int64]bool), idSet{}
		for range r.IntN(2 * int(span)) {
			id := first + r.Int64N(span)
			if fresh := set.add(id); fresh == came[id] {
				t.Fatalf("KLINED_SEED=%d: id %d is new: %v", seed, id, fresh)
			}
			came[id] = true
		}
		var want []idRun
		before := int64(-1)
		for id := first; id < first+span; id++ {
			if came[id] && before >= 0 && id > before+1 {
				want = append(want, idRun{before + 1, id - 1})
			}
			if came[id] {
				before = id
			}
		}
		if d := cmp.Diff(want, set.missing(), cmp.AllowUnexported(idRun{})); d != "" {
			t.Fatalf("KLINED_SEED=%d: missing (-want +got):\n%s", seed, d)
		}
	}
}

// BenchmarkIDSet carries one id of 600,000.
func BenchmarkIDSet(b *testing.B) {
	ids := make([]int, 600_000)
	for i := range ids {
		ids[i] = i
	}
	anyOrder := rand.New(rand.NewPCG(1, 0)).Perm(len(ids))
	for _, c := range []struct {
		name string
		ids  []int
	}{{"rising", ids}, {"any order", anyOrder}} {
		b.Run(c.name, func(b *testing.B) {
			var set idSet
			for i := 0; b.Loop(); i++ {
				if i%len(ids) == 0 {
					set = idSet{}
				}
				set.add(int64(c.ids[i%len(ids)]))
			}
		})
	}
}
