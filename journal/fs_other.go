//go:build !linux

package journal

// Allocate writes zeros: there is no portable call that does less.
func (f diskFile) Allocate(size int64) error { return writeZeros(f, 0, size) }

// Zero writes zeros.
func (f diskFile) Zero(from, to int64) error { return writeZeros(f, from, to) }

// NextData does not know.
func (f diskFile) NextData(from int64) (int64, error) { return from, nil }

// Sync writes all data and metadata.
func (f diskFile) Sync() error { return f.File.Sync() }
