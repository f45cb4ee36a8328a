package openfga

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	fga "github.com/openfga/go-sdk"

	"github.com/sallyport-dev/sallyport/authz"
)

// check asks one Check. status is that of the answer, 0 without one.
func (b *Backend) check(ctx context.Context, key fga.CheckRequestTupleKey) (answer fga.CheckResponse, status int, err error) {
	request := fga.CheckRequest{TupleKey: key}
	if b.model != "" {
		request.AuthorizationModelId = &b.model
	}
	answer, response, err := b.api.Check(ctx, b.store).Body(request).Execute()
	if response != nil {
		status = response.StatusCode
		response.Body.Close() // the client has read and closed it, and left a copy
	}
	return answer, status, err
}

func (b *Backend) checkOne(ctx context.Context, item item, answers []authz.Standing) error {
	answer, status, err := b.check(ctx, item.key)
	if err != nil {
		return explain(status, err)
	}
	if answer.Allowed == nil {
		return fmt.Errorf("owner/openfga: %w: it neither allows nor denies", authz.ErrLookupAnswer)
	}
	answers[item.place] = standing(*answer.Allowed)
	return nil
}

func standing(allowed bool) authz.Standing {
	if allowed {
		return authz.Theirs
	}
	return authz.NotTheirs
}

// A batch on the wire. The client has none: its BatchCheck is one call for each object, and a batch is to be one trip.
type (
	batchRequest struct {
		Checks []batchItem `json:"checks"`
		Model  string      `json:"authorization_model_id,omitempty"`
	}
	batchItem struct {
		ID  string                   `json:"correlation_id"`
		Key fga.CheckRequestTupleKey `json:"tuple_key"`
	}
	batchResponse struct {
		Result map[string]struct {
			Allowed *bool       `json:"allowed"`
			Error   *batchError `json:"error"`
		} `json:"result"`
	}
	batchError struct {
		Input    string `json:"input_error"`
		Internal string `json:"internal_error"`
	}
	refusal struct {
		Code string `json:"code"`
	}
)

// checkBatch asks about the items in one call. Every item is answered, or nothing is believed.
func (b *Backend) checkBatch(ctx context.Context, items []item, answers []authz.Standing) error {
	request := batchRequest{Checks: make([]batchItem, len(items)), Model: b.model}
	for i, item := range items {
		request.Checks[i] = batchItem{strconv.Itoa(i), item.key}
	}
	var response batchResponse
	if err := b.post(ctx, "/batch-check", request, &response); err != nil {
		return err
	}
	if len(response.Result) != len(items) {
		return fmt.Errorf("owner/openfga: %w: %d answers about %d objects", authz.ErrLookupAnswer, len(response.Result), len(items))
	}
	for i, item := range items {
		answer := response.Result[strconv.Itoa(i)]
		switch {
		case answer.Error != nil && answer.Error.Internal != "":
			return fmt.Errorf("owner/openfga: %w: a check of the batch failed: %.100q", authz.ErrLookupUnavailable, answer.Error.Internal)
		case answer.Error != nil:
			return fmt.Errorf("owner/openfga: %w: a check of the batch was refused: %.100q", authz.ErrLookupAnswer, answer.Error.Input)
		case answer.Allowed == nil:
			return fmt.Errorf("owner/openfga: %w: it neither allows nor denies", authz.ErrLookupAnswer)
		}
		answers[item.place] = standing(*answer.Allowed)
	}
	return nil
}

// post calls the store as the client does, through the same transport.
func (b *Backend) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("owner/openfga: %w: %w", authz.ErrLookupAnswer, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.base+"/stores/"+b.store+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("owner/openfga: %w: %w", authz.ErrLookupUnavailable, err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "sallyport")
	response, err := b.http.Do(request)
	if err != nil {
		return fmt.Errorf("owner/openfga: %w: %w", authz.ErrLookupUnavailable, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return cutOff(err)
	}
	if response.StatusCode != http.StatusOK {
		var why refusal
		_ = json.Unmarshal(text, &why) // a refusal without a code is one too
		return refused(response.StatusCode, why.Code)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return unreadable(err)
	}
	return nil
}

// explain makes one of authz's two errors of what the client returns.
func explain(status int, err error) error {
	switch status {
	case 0:
		return fmt.Errorf("owner/openfga: %w: %w", authz.ErrLookupUnavailable, err)
	case http.StatusOK:
		if _, whole := errors.AsType[fga.GenericOpenAPIError](err); whole {
			return unreadable(err)
		}
		return cutOff(err)
	}
	code := ""
	if answer, ok := errors.AsType[fga.FgaApiValidationError](err); ok {
		code = string(answer.ResponseCode())
	}
	return refused(status, code)
}

// cutOff is an answer that did not come to its end: an outage, unless it has none.
func cutOff(err error) error {
	if _, long := errors.AsType[*http.MaxBytesError](err); long {
		return unreadable(err)
	}
	return fmt.Errorf("owner/openfga: %w: %w", authz.ErrLookupUnavailable, err)
}

// unreadable is a whole answer that makes no sense.
func unreadable(err error) error {
	return fmt.Errorf("owner/openfga: %w: %.200q", authz.ErrLookupAnswer, err.Error())
}

// refused says what a status means. 400 speaks of what was asked, a name or a relation, so it is an answer: no id that somebody sends may
// look like an outage, and a rule with a misspelt relation must not stop the others. A model that is not there is everybody's trouble.
func refused(status int, code string) error {
	what := authz.ErrLookupUnavailable
	if status == http.StatusBadRequest && !modelMissing(fga.ErrorCode(code)) {
		what = authz.ErrLookupAnswer
	}
	hint := ""
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		hint = "; it does not take the gate's token, see `token_file`"
	case http.StatusNotFound:
		hint = "; there is no such store, or this is no OpenFGA that knows this call (batches need 1.8)"
	}
	return fmt.Errorf("owner/openfga: %w: answered %d %.100q%s", what, status, code, hint)
}

func modelMissing(code fga.ErrorCode) bool {
	return code == fga.ERRORCODE_AUTHORIZATION_MODEL_NOT_FOUND || code == fga.ERRORCODE_LATEST_AUTHORIZATION_MODEL_NOT_FOUND
}
