"""The schema that the service publishes, tried by schemathesis."""

import pytest
import schemathesis
from example_counts import examples
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance
from serving.conftest import TOKENS

# Quotas, sizes and the order of pieces are facts of the server's state, which no schema states.
BEYOND = [positive_data_acceptance]


@pytest.mark.hypothesis  # more examples with the slow tests
def test_the_service_keeps_to_its_schema(service):
    """Drawn requests, good and bad: no 5xx, no answer that the schema does not know.

    What they leave on the repository is of an owner whom no other test needs.
    """
    token = TOKENS["eve"].replace(" ", "_")
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(max_examples=examples(40), suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def one(case):
            headers = {"Authorization": f"Bearer {token}"}
            case.call_and_validate(headers=headers, excluded_checks=BEYOND)

        one()
        tried += 1
    assert tried >= 9
