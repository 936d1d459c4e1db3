{#- Every row satisfies the expression; a null is a violation. -#}
{% test holds(model, expression) %}

select *
from {{ model }}
where ({{ expression }}) is not true

{% endtest %}
