package outgoing

import (
	"slices"
)

// allRows returns the table.
func allRows() []*row {
	return slices.Concat(daneRows(), tlsRows(), tlsNotRequiredRows(), stsRows(), stageRows(), slowRows(), familyRows(), routeRows())
}
