package atomicfile

import "testing"

func TestAtLeast(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]bool{
		"5.8.0": true, "5.8": true, "5.10.0-30-amd64": true, "6.1.0-18-amd64": true, "10.0": true, "5.8-rc1": true,
		"5.7.19": false, "4.19.0": false, "5": false, "": false, "x.y": false, "5.x": false,
	} {
		if got := atLeast(release, 5, 8); got != want {
			t.Errorf("%q: got %v, want %v", release, got, want)
		}
	}
}
