package openapi

import (
	"os"
	"testing"
)

func BenchmarkRead(b *testing.B) {
	data, err := os.ReadFile("testdata/petstore.yaml")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, errs := Read("petstore.yaml", data); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}
