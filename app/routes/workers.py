"""Who trains."""

from fastapi import APIRouter
from starlette.responses import Response

from app.contract.views import WorkerList
from app.routes import examples
from app.routes.answers import answered, read
from app.routes.inputs import DatabaseDep
from app.routes.strict import StrictRoute
from app.services import workers

router = APIRouter(prefix="/v1/workers", tags=["workers"], route_class=StrictRoute)


@router.get(
    "",
    response_model=WorkerList,
    operation_id="list_workers",
    summary="List workers",
    responses=read(example={"items": [examples.WORKER]}),
)
def list_workers(database: DatabaseDep) -> Response:
    """Every known host with its devices, what runs on each, and when it was last seen."""
    with database.read() as session:
        return answered(workers.list_workers(session))
