//go:build !linux

package journal

// NextData does not know.
func (f diskFile) NextData(from int64) (int64, error) { return from, nil }

// Sync writes all data and metadata.
func (f diskFile) Sync() error { return f.File.Sync() }
