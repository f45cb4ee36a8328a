//go:build !linux && !darwin

package audit

import "errors"

// Free is not known here.
func (f *File) Free() (int64, error) {
	return 0, errors.New("audit: free space is not known on this system")
}
